"""Compressed sensing with some coefficients of the Walsh-Hadamard transform."""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .base import SVDOperator

__all__ = ["Hadamard"]


class Hadamard(SVDOperator):
    """y = m coefficients of H x per channel, chosen by the seed: the first m of (H x)[order].

    H_ij = (-1)^(bits that i and j share) / sqrt(n) over the n pixels of a channel, row by row, so
    V = V^T = H up to the order, and s is 1 for what is measured. The ``cs2`` and ``cs4`` of
    "Denoising Diffusion Restoration Models" (Kawar et al., 2022), https://arxiv.org/abs/2201.11793,
    at the ratios 1/2 and 1/4. Sides are powers of two. y has the shape ``(B, C, m)``.

    Arguments:
        ratio: m / n, in (0, 1].
        seed: A non-negative integer.
        shape: The shape of one state; ``for_shape`` sets it later if it is not known yet.
    """

    s: Tensor
    order: Tensor
    place: Tensor

    def __init__(
        self, ratio: float = 0.25, seed: int = 0, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        if not 0 < ratio <= 1:
            raise ValueError(f"the ratio of measurements to pixels is in (0, 1], got {ratio}")
        self.ratio = ratio
        self.seed = seed
        self.shape = tuple(shape or ())
        if self.shape:
            n = self.shape[-2] * self.shape[-1]
            if n & (n - 1):
                raise ValueError(
                    "a Walsh-Hadamard transform needs sides that are powers of two, "
                    f"got {self.shape[-1]}x{self.shape[-2]}"
                )
            order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
            self.register_buffer("order", order)
            self.register_buffer("place", order.argsort())
            self.m = max(1, round(ratio * n))
            s = torch.arange(n) < self.m
            self.register_buffer("s", s.to(torch.get_default_dtype()))

    def for_shape(self, shape: Sequence[int]) -> Self:
        return self if tuple(shape) == self.shape else type(self)(self.ratio, self.seed, shape)

    def to_spectrum(self, x: Tensor) -> Tensor:
        return _transform(x.flatten(-2))[..., self.order]

    def from_spectrum(self, z: Tensor) -> Tensor:
        x = _transform(z[..., self.place])
        return x.reshape(*x.shape[:-1], *self.shape[-2:])

    def to_left(self, y: Tensor) -> Tensor:
        return F.pad(y, (0, len(self.s) - y.shape[-1]))

    def from_left(self, z: Tensor) -> Tensor:
        return z[..., : self.m]


def _transform(x: Tensor) -> Tensor:
    """Return H x along the last axis, with n log n additions."""
    n = x.shape[-1]
    span = 1
    while span < n:
        a, b = x.reshape(*x.shape[:-1], -1, 2, span).unbind(-2)
        x = torch.stack((a + b, a - b), -2).flatten(-3)
        span *= 2
    return x / math.sqrt(n)
