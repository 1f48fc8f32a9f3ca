"""Super-resolution from averages: each pixel of y is the mean of a block of pixels."""

import torch
from torch import Tensor

from ._blocks import from_blocks, to_blocks
from .base import SVDOperator

__all__ = ["Average"]


class Average(SVDOperator):
    """y = the mean of each block of N x N pixels, in closed form.

    Within a block A = s u^T, with s = 1 / N and u_j = 1 / N; the reflection that swaps u and the
    block's first pixel e is V, v = e - u: V z = z - 2 v (v^T z) / (v^T v), V = V^T.
    The ``sr_averagepooling`` of "Denoising Diffusion Restoration Models" (Kawar et al., 2022),
    https://arxiv.org/abs/2201.11793. Sides are multiples of N.

    Arguments:
        factor: N, at least 2.
    """

    s: Tensor

    def __init__(self, factor: int = 4) -> None:
        super().__init__()
        if factor < 2:
            raise ValueError(f"the factor of an average is an integer from 2 on, got {factor}")
        self.factor = self.grain = factor
        s = torch.zeros(factor, 1, factor)  # of a block in (H / N, N, W / N, N)
        s[0, 0, 0] = 1 / factor
        self.register_buffer("s", s)

    def _blocks(self, x: Tensor) -> Tensor:
        return to_blocks(x, self.factor, f"an average of {self.factor} x {self.factor} pixels")

    def _reflect(self, z: Tensor) -> Tensor:
        v = (self.s > 0).to(z) - 1 / self.factor
        return z - v * ((v * z).sum((-3, -1), keepdim=True) / (1 - 1 / self.factor))

    def forward(self, x: Tensor) -> Tensor:
        return self._blocks(x).mean((-3, -1))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.pinv(y) / self.factor**2

    def pinv(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)

    def to_spectrum(self, x: Tensor) -> Tensor:
        return self._reflect(self._blocks(x))

    def from_spectrum(self, z: Tensor) -> Tensor:
        return from_blocks(self._reflect(z))

    def to_left(self, y: Tensor) -> Tensor:
        return y[..., None, :, None] * (self.s > 0).to(y)

    def from_left(self, z: Tensor) -> Tensor:
        return z[..., 0, :, 0]
