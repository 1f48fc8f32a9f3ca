"""Strengthen or weaken a word of the prompt that an image has."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import AttentionEdit, Words, take_words

__all__ = ["Reweight"]


@dataclass(frozen=True, kw_only=True)
class Reweight(AttentionEdit):
    """k = 0 and M = I: one prompt with weights. Heuristic; sec. 3.2, "attention re-weighting"."""

    def columns(self, source: Words, target: Words) -> tuple[Tensor, Tensor]:
        if list(source.words) != list(target.words):
            raise ValueError(
                f"reweight is of one prompt, got {' '.join(source.words)!r} and "
                f"{' '.join(target.words)!r}; replace and refine take weights, too"
            )
        pairs = [(i, i) for i in range(len(source.words))]
        return take_words(source, target, pairs), torch.zeros(target.length)
