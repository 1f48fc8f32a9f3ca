"""Inpainting: some entries are measured, the others are lost."""

from typing import Self

import torch
from torch import Tensor

from ..bands import rows_of
from .base import DiagonalOperator

__all__ = ["Mask"]


class Mask(DiagonalOperator):
    """y = keep x.

    Arguments:
        keep: 1 or True where an entry is measured, 0 or False where it is lost; any shape that
            broadcasts to a state, or ``(B, *)`` with one mask for each image of a batch.
        batched: Whether the first dimension of ``keep`` counts images.
    """

    s: Tensor
    grain = 1

    def __init__(self, keep: Tensor, batched: bool = False) -> None:
        super().__init__()
        self.batched = batched
        self.register_buffer("s", keep.to(torch.get_default_dtype()))

    @property
    def by_channel(self) -> bool:  # type: ignore[override]
        return self.s.ndim >= 3 and self.s.shape[-3] == 1

    def mask_unmeasured(self, y: Tensor) -> Tensor:
        return (self.s != 0) * y

    def select(self, index: Tensor) -> Self:
        return type(self)(rows_of(self.s, index), batched=True) if self.batched else self

    def band(self, rows: slice, y: Tensor) -> tuple[Self, Tensor]:
        s = self.s[..., rows, :] if self.s.ndim >= 2 and self.s.shape[-2] > 1 else self.s
        return type(self)(s, batched=self.batched), y[..., rows, :]
