"""Add words to a prompt or remove some: words in both prompts keep their attention maps."""

from dataclasses import dataclass
from difflib import SequenceMatcher

from torch import Tensor

from .base import AttentionEdit, Words, take_words

__all__ = ["Refine"]


@dataclass(frozen=True, kw_only=True)
class Refine(AttentionEdit):
    """M takes over the words of the longest common runs; k = 1 for the others, which are new.

    Heuristic; sec. 3.2, "adding a new phrase".
    """

    def columns(self, source: Words, target: Words) -> tuple[Tensor, Tensor]:
        runs = SequenceMatcher(None, source.words, target.words, autojunk=False)
        pairs = [
            (run.a + i, run.b + i) for run in runs.get_matching_blocks() for i in range(run.size)
        ]
        M = take_words(source, target, pairs)
        return M, (M.sum(0) == 0).to(M)
