"""Compressed sensing by a Gaussian matrix that is drawn again from its seed, never kept whole."""

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
    https://arxiv.org/abs/1703.03208. Row i has a stream of its own, so the entries hang on the
    seed and the shape alone. A matrix of more than ``BLOCK`` entries is drawn anew at every
    product, at some 30 million entries a second; a smaller one is kept. y has the shape ``(B, m)``.

    Arguments:
        ratio: m over the numbers of a state, above 0.
        seed: Any integer that is not negative.
        shape: The shape of one state; ``for_shape`` gives it later where it is not known yet.
    """

    def __init__(
        self, ratio: float = 0.25, seed: int = 0, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        if not ratio > 0:
            raise ValueError(f"the ratio of measurements to numbers is above 0, got {ratio}")
        self.ratio, self.seed, self.shape = ratio, seed, tuple(shape or ())
        if self.shape:
            self.m = max(1, round(ratio * math.prod(self.shape)))

    def for_shape(self, shape: Sequence[int]) -> Self:
        return self if tuple(shape) == self.shape else type(self)(self.ratio, self.seed, shape)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)  # one product a row: its bits do not hang on the batch
        y = torch.cat([torch.stack([A @ v for v in rows]) for A, _ in self._blocks(x)], 1)
        return y / math.sqrt(self.m)

    def adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(len(y), math.prod(self.shape))
        for A, part in self._blocks(y):
            x = x + torch.stack([A.mT @ v for v in y[:, part]])
        return x.reshape(-1, *self.shape) / math.sqrt(self.m)

    def _blocks(self, like: Tensor) -> Iterator[tuple[Tensor, slice]]:
        """Yield rows of sqrt(m) A, and which they are."""
        n = math.prod(self.shape)
        count = max(1, BLOCK // n)
        for i in range(0, self.m, count):
            part = slice(i, min(i + count, self.m))
            yield _draw(self.seed, part.start, part.stop, n, like.dtype, like.device), part


@lru_cache(maxsize=1)
def _draw(
    seed: int, first: int, last: int, n: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return rows of standard normal numbers."""
    A = np.empty((last - first, n), np.float32)
    for i, row in enumerate(A, first):
        np.random.Generator(np.random.Philox(key=[seed, i])).standard_normal(out=row, dtype="f4")
    return torch.from_numpy(A).to(device, dtype)
