"""Phase retrieval: a detector in the Fourier plane counts light, so that phases are lost."""

import torch.nn.functional as F
from torch import Tensor
from torch.fft import fft2, fftshift, ifftshift

from .base import Operator

__all__ = ["PhaseRetrieval"]


class PhaseRetrieval(Operator):
    """y = |F P x|: zeros round the image, a centerd orthonormal Fourier transform, its size.

    P pads each edge with int(oversample / 8 side) zeros, 64 for a side of 256, and ||y|| = ||x||.
    The negative of x, and x turned by 180 degrees, have the y of x.
    "Diffusion Posterior Sampling for General Noisy Inverse Problems" (Chung et al., 2023),
    https://arxiv.org/abs/2209.14687.

    Arguments:
        oversample: How far the image is padded: by a factor of 1 + oversample / 4 a side.
        light: Whether x stands for the light (x + 1) / 2, in [0, 1], as in DAPS, which tells it
            from -x; else it is x itself, in [-1, 1], as in DPS and InverseBench.
    """

    def __init__(self, oversample: float = 2.0, light: bool = False) -> None:
        super().__init__()
        if not oversample >= 0:
            raise ValueError(f"oversample is a number from 0 on, got {oversample}")
        self.oversample, self.light = oversample, light

    def forward(self, x: Tensor) -> Tensor:
        h, w = (int(self.oversample / 8 * side) for side in x.shape[-2:])
        padded = F.pad((x + 1) / 2 if self.light else x, (w, w, h, h))
        plane = fft2(ifftshift(padded, dim=(-2, -1)), norm="ortho")
        y: Tensor = fftshift(plane, dim=(-2, -1)).abs()
        return y
