"""Operators that the tests compare with."""

import torch.nn.functional as F
from torch import Tensor

from diffprior.operators.base import LinearOperator

from support.exact import random

SHAPE = (3, 8, 8)  # of a state


class Blur(LinearOperator):
    """A skewed blur that writes no adjoint."""

    def __init__(self, shape: tuple[int, ...] = SHAPE) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("kernel", random(1, 1, 3, 3, seed=7).exp() / 12)

    def forward(self, x: Tensor) -> Tensor:
        k = self.kernel.expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), k, groups=x.shape[1])


def keep(*shape: int) -> Tensor:
    return (random(*shape, seed=5) > 0).double()
