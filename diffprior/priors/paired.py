"""Pairs of priors: an image and its edit go through one chain in step."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from ..bands import is_large
from .base import Prior

__all__ = ["PairedPrior"]


class PairedPrior(Prior):
    """The first half of a batch goes through the source prior, the second through the target.

    Arguments:
        source, target: Priors of the same states and diffusion.

    Attributes:
        before, after: The source prior and the target prior.
    """

    def __init__(self, source: Prior, target: Prior) -> None:
        super().__init__()
        self.before = source
        self.after = target
        self.diffusion = target.diffusion
        self.shape = target.shape
        self.stride = target.stride

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        x, y = x_t.chunk(2)
        if not is_large(x_t):
            return torch.cat([self.before(x, t), self.after(y, t)])
        both = torch.empty_like(x_t)  # of large ones one answer is held beside them, not two
        both[: len(x)] = self.before(x, t)
        both[len(x) :] = self.after(y, t)
        return both

    def encode(self, image: Tensor) -> Tensor:
        return self.after.encode(image)

    def decode(self, state: Tensor) -> Tensor:
        return self.after.decode(state)

    def for_shape(self, shape: Sequence[int]) -> Self:
        return type(self)(self.before.for_shape(shape), self.after.for_shape(shape))
