"""Colorization: only a weighted sum of the three channels is measured."""

import torch
from torch import Tensor

from ..bands import in_bands
from ..io.arrays import LUMA
from .base import SVDOperator

__all__ = ["Gray"]

WEIGHTS = {
    "mean": (1 / 3, 1 / 3, 1 / 3),
    "luminance": LUMA,
    "orthonormal": (3**-0.5, 3**-0.5, 3**-0.5),
}


class Gray(SVDOperator):
    """y = w^T (R, G, B), in closed form.

    A = s u^T with s = |w| and u = w / |w|; the reflection that swaps u and the first channel e is
    V, v = e - u: V z = z - 2 v (v^T z) / (v^T v), V = V^T.

    Arguments:
        weights: "mean", a third each, as in "Zero-Shot Image Restoration Using Denoising Diffusion
            Null-Space Model" (Wang et al., 2023), https://arxiv.org/abs/2212.00490;
            "luminance", 0.299 R + 0.587 G + 0.114 B: ITU-R BT.601;
            "orthonormal", 1 / sqrt(3) each, so that s = 1: "Score-Based Generative Modeling through
            Stochastic Differential Equations" (Song et al., 2021),
            https://arxiv.org/abs/2011.13456.
    """

    w: Tensor
    s: Tensor
    grain = 1

    def __init__(self, weights: str = "mean") -> None:
        super().__init__()
        if weights not in WEIGHTS:
            raise ValueError(f"the weights of gray are {', '.join(WEIGHTS)}, got {weights!r}")
        w = torch.tensor(WEIGHTS[weights], dtype=torch.float64).reshape(3, 1, 1)
        s = torch.zeros(3, 1, 1)
        s[0] = w.norm()
        self.register_buffer("w", w)
        self.register_buffer("s", s)

    def _reflect(self, z: Tensor) -> Tensor:
        w = self.w.to(z)
        v = (self.s > 0).to(z) - w / w.square().sum().sqrt()
        return z - v * (2 * (v * z).sum(1, keepdim=True) / v.square().sum())

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise ValueError(f"gray takes images of 3 channels, got {x.shape[1]}")
        w = self.w.to(x)
        return in_bands(lambda x: (w * x).sum(1, keepdim=True), x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.w.to(y) * y

    def pinv(self, y: Tensor) -> Tensor:
        w = self.w.to(y)
        return w / w.square().sum() * y

    def to_spectrum(self, x: Tensor) -> Tensor:
        return self._reflect(x)

    def from_spectrum(self, z: Tensor) -> Tensor:
        return self._reflect(z)

    def to_left(self, y: Tensor) -> Tensor:
        return y * (self.s > 0).to(y)

    def from_left(self, z: Tensor) -> Tensor:
        return z[:, :1]
