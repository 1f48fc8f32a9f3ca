"""Two priors side by side, so that an image and its edit go down one chain in step."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from .base import Prior

__all__ = ["PairedPrior"]


class PairedPrior(Prior):
    """The first half of a batch is answered by the source, then the second by the target.

    Arguments:
        source, target: Priors of the same states and diffusion.
    """

    def __init__(self, source: Prior, target: Prior) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.diffusion, self.shape = target.diffusion, target.shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        x, y = x_t.chunk(2)
        return torch.cat([self.source(x, t), self.target(y, t)])

    def encode(self, image: Tensor) -> Tensor:
        return self.target.encode(image)

    def decode(self, state: Tensor) -> Tensor:
        return self.target.decode(state)

    def for_shape(self, shape: Sequence[int]) -> Self:
        return type(self)(self.source.for_shape(shape), self.target.for_shape(shape))
