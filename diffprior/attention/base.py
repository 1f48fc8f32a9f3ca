"""Attention edits: how the attention maps of one prompt are used for another."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import punctuation

import torch
from torch import Tensor

from ..validation import Checked, Share

__all__ = ["AttentionEdit", "Words", "take_words"]


@dataclass(frozen=True, kw_only=True)
class Words:
    """A prompt: its words, and the rows of its embedding that belong to each.

    Attributes:
        words: The words in their order.
        spans: For each word its first row, and the row after its last.
        length: Number of rows, with start, end and padding.
    """

    words: Sequence[str]
    spans: Sequence[tuple[int, int]]
    length: int

    @classmethod
    def of(cls, text: str, tokens: Callable[[str], Sequence[int]], length: int) -> "Words":
        """Return the words of a text: after one start row, a word has a row for each token."""
        words = text.split()
        spans = []
        at = 1
        for word in words:
            count = len(tokens(word))
            spans.append((min(at, length - 1), min(at + count, length - 1)))
            at += count
        return cls(words=words, spans=spans, length=length)

    @property
    def end(self) -> int:
        """Return the row that marks the end of the text."""
        return self.spans[-1][1] if self.spans else 1

    def rows(self, *named: str) -> list[int]:
        """Return the rows of all occurrences of these words, punctuation included."""
        spans = zip((word.strip(punctuation) for word in self.words), self.spans, strict=True)
        return [row for word, span in spans if word in named for row in range(*span)]


@dataclass(frozen=True, kw_only=True)
class AttentionEdit(Checked, ABC):
    """A_target = (A_source M + A_target diag(k)) diag(c), where A are the attention maps.

    A row of A is a pixel, a column is a row of the prompt's embedding. M takes over columns of the
    source, k keeps columns of the target, and c weights them.
    "Prompt-to-Prompt Image Editing with Cross Attention Control" (Hertz et al., 2023),
    https://arxiv.org/abs/2208.01626. With ``local``, the edit only shows where the source
    or the target attends to these words; elsewhere the states are those of the source ("local
    editing").

    Arguments:
        cross: Share of the steps, from pure noise on, in which attention to words is edited.
        layout: Share of the steps in which attention between pixels is that of the source.
        side: Largest side of the feature maps for which ``layout`` and ``local`` apply.
        weights: c for words of the target, such as ``{"fluffy": 2.0}``; 1 for all others.
        local: Words of either prompt, such as ``"cat dog"``; by default the edit shows everywhere.
        threshold: Share of the largest attention to these words, above which the edit shows.
    """

    cross: Share = 0.8
    layout: Share = 0.4
    side: int = 32
    weights: Mapping[str, float] = field(default_factory=dict)
    local: str = ""
    threshold: Share = 0.3

    @abstractmethod
    def columns(self, source: Words, target: Words) -> tuple[Tensor, Tensor]:
        """Return M, of shape ``(source rows, target rows)``, and k, of shape ``(target rows,)``."""

    def factors(self, target: Words) -> Tensor:
        """Return c, of shape ``(rows,)``."""
        c = torch.ones(target.length)
        for word, weight in self.weights.items():
            if not (rows := target.rows(word)):
                raise ValueError(f"no word {word!r} to weight in {' '.join(target.words)!r}")
            c[rows] = weight
        return c

    def spots(self, source: Words, target: Words) -> tuple[list[int], list[int]]:
        """Return the rows of the words of ``local`` in both prompts."""
        named = self.local.split()
        for word in named:
            if not source.rows(word) and not target.rows(word):
                raise ValueError(
                    f"no word {word!r} to look for in {' '.join(source.words)!r} or "
                    f"{' '.join(target.words)!r}"
                )
        return source.rows(*named), target.rows(*named)


def take_words(source: Words, target: Words, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Return M, which takes over these words, and everything that is no word.

    Words of equal length go row for row. Otherwise each row of the source is shared out evenly.

    Arguments:
        pairs: Positions of a word of the source and of one of the target.
    """
    M = torch.zeros(source.length, target.length)
    M[0, 0] = 1
    rows = torch.arange(target.end, target.length)
    M[(rows - target.end + source.end).clamp_max(source.length - 1), rows] = 1
    for i, j in pairs:
        (a, b), (c, d) = source.spans[i], target.spans[j]
        same = b - a == d - c
        M[a:b, c:d] = torch.eye(b - a) if same else torch.ones(b - a, d - c) / max(d - c, 1)
    return M
