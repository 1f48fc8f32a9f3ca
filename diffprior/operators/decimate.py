"""Decimation: every N-th pixel is kept. Decimate(4) @ Blur(k) models a low-resolution camera."""

import torch
from torch import Tensor

from ._blocks import from_blocks, to_blocks
from .base import SVDOperator

__all__ = ["Decimate"]


class Decimate(SVDOperator):
    """y[i, j] = x[N i + p, N j + p].

    Sides are multiples of N. After a blur it is the degradation of "Designing a Practical
    Degradation Model for Deep Blind Image Super-Resolution" (Zhang et al., 2021),
    https://arxiv.org/abs/2103.14006.

    Arguments:
        factor: N, at least 1.
        phase: p, from 0 to N - 1: which pixel of a block is kept, on both axes.
    """

    s: Tensor

    def __init__(self, factor: int = 4, phase: int = 0) -> None:
        super().__init__()
        if factor < 1 or not 0 <= phase < factor:
            raise ValueError(
                "a decimation keeps pixel 0 <= phase < factor of each block, "
                f"got phase {phase} and factor {factor}"
            )
        self.factor = factor
        self.phase = phase
        s = torch.zeros(factor, 1, factor)  # of a block in (H / N, N, W / N, N)
        s[phase, 0, phase] = 1
        self.register_buffer("s", s)

    def to_spectrum(self, x: Tensor) -> Tensor:
        return to_blocks(x, self.factor, f"a decimation by {self.factor}")

    def from_spectrum(self, z: Tensor) -> Tensor:
        return from_blocks(z)

    def to_left(self, y: Tensor) -> Tensor:
        return y[..., None, :, None] * self.s

    def from_left(self, z: Tensor) -> Tensor:
        return z[..., self.phase, :, self.phase]
