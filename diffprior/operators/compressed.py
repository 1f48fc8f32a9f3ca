"""Compressed sensing with a Gaussian matrix that is drawn again from its seed when needed."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from .base import LinearOperator

__all__ = ["Compressed"]

BLOCK = 2**26  # entries in memory at a time: 256 MB in float32


class Compressed(LinearOperator):
    """y = A x on the flattened state, A_ij ~ N(0, 1 / m), of m rows.

    As in "Compressed Sensing using Generative Models" (Bora et al., 2017),
    https://arxiv.org/abs/1703.03208. Each row has its own random stream, so the entries
    depend only on the seed and the shape. A matrix with more than ``BLOCK`` entries is drawn again
    for each product, at about 30 million entries per second; a smaller one is kept. y has the shape
    ``(B, m)``.

    Arguments:
        ratio: m divided by the number of entries of a state, above 0.
        seed: A non-negative integer.
        shape: The shape of one state; ``for_shape`` sets it later if it is not known yet.
    """

    def __init__(
        self, ratio: float = 0.25, seed: int = 0, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        if not ratio > 0:
            raise ValueError(f"the ratio of measurements to numbers is above 0, got {ratio}")
        self.ratio = ratio
        self.seed = seed
        self.shape = tuple(shape or ())
        if self.shape:
            self.m = max(1, round(ratio * math.prod(self.shape)))

    def for_shape(self, shape: Sequence[int]) -> Self:
        return self if tuple(shape) == self.shape else type(self)(self.ratio, self.seed, shape)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)  # one product per row, so that the batch changes no bit
        y = torch.cat([torch.stack([A @ v for v in rows]) for A, _ in self._blocks(x)], 1)
        return y / math.sqrt(self.m)

    def adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(len(y), math.prod(self.shape))
        for A, part in self._blocks(y):
            x = x + torch.stack([A.mT @ v for v in y[:, part]])
        return x.reshape(-1, *self.shape) / math.sqrt(self.m)

    def _blocks(self, like: Tensor) -> Iterator[tuple[Tensor, slice]]:
        """Yield blocks of rows of sqrt(m) A, each with its slice."""
        n = math.prod(self.shape)
        count = max(1, BLOCK // n)
        for i in range(0, self.m, count):
            part = slice(i, min(i + count, self.m))
            yield _draw(self.seed, part.start, part.stop, n, like.dtype, like.device), part


@lru_cache(maxsize=1)
def _draw(
    seed: int, first: int, last: int, n: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the rows from first to last - 1 of a matrix of standard normal numbers."""
    A = np.empty((last - first, n), np.float32)
    for i, row in enumerate(A, first):
        np.random.Generator(np.random.Philox(key=[seed, i])).standard_normal(out=row, dtype="f4")
    return torch.from_numpy(A).to(device, dtype)
