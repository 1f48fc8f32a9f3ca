"""Swap words one for one: a new word gets the attention maps of the old one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import AttentionEdit, Words, take_words

__all__ = ["Replace"]


@dataclass(frozen=True, kw_only=True)
class Replace(AttentionEdit):
    """k = 0, and M takes over every word by position. Heuristic; sec. 3.2, "word swap"."""

    def columns(self, source: Words, target: Words) -> tuple[Tensor, Tensor]:
        n, m = len(source.words), len(target.words)
        if n != m:
            raise ValueError(f"replace swaps words one for one, and the prompts have {n} and {m}")
        return take_words(source, target, [(i, i) for i in range(n)]), torch.zeros(target.length)
