"""Phase retrieval: a detector in the Fourier plane measures magnitudes; phases are lost."""

import torch.nn.functional as F
from torch import Tensor
from torch.fft import fftshift, ifftshift

from ..batching import row_by_row
from ._fft import fft2
from .base import Operator

__all__ = ["PhaseRetrieval"]


class PhaseRetrieval(Operator):
    """y = |F P x|: zero padding P, a centered orthonormal Fourier transform F, the magnitude.

    P pads each edge with int(oversample / 8 side) zeros, 64 for a side of 256, and ||y|| = ||x||.
    -x, and x rotated by 180 degrees, have the same y as x.
    "Diffusion Posterior Sampling for General Noisy Inverse Problems" (Chung et al., 2023),
    https://arxiv.org/abs/2209.14687.

    Arguments:
        oversample: Amount of padding: each side grows by a factor of 1 + oversample / 4.
        light: Whether the transform is of the light (x + 1) / 2, in [0, 1], as in DAPS, which
            distinguishes x from -x; otherwise of x, in [-1, 1], as in DPS and InverseBench.
    """

    def __init__(self, oversample: float = 2.0, light: bool = False) -> None:
        super().__init__()
        if not oversample >= 0:
            raise ValueError(f"oversample is a number from 0 on, got {oversample}")
        self.oversample = oversample
        self.light = light

    def forward(self, x: Tensor) -> Tensor:
        return row_by_row(self._measure, x)  # the gradient of a magnitude rounds by its place

    def _measure(self, x: Tensor) -> Tensor:
        h, w = (int(self.oversample / 8 * side) for side in x.shape[-2:])
        padded = F.pad((x + 1) / 2 if self.light else x, (w, w, h, h))
        plane = fft2(ifftshift(padded, dim=(-2, -1)))
        y: Tensor = fftshift(plane, dim=(-2, -1)).abs()
        return y
