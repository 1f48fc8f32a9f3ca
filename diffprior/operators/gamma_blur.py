"""Blur as in a camera: the light is averaged before it is encoded with a gamma curve."""

from torch import Tensor

from ..batching import row_by_row
from .base import Operator

__all__ = ["GammaBlur"]

BLACK = 1e-3  # least light that differs from none, a quarter of a gray level


class GammaBlur(Operator):
    """y = 2 (G * z^gamma)^(1 / gamma) - 1, with z = max((x + 1) / 2, 0.001) the image in [0, 1].

    G is a Gaussian of 2 int(4 sigma + 0.5) + 1 taps, and borders are reflected. Bright spots spread
    further than under a linear blur, as in real photographs. It is a substitute, in closed form,
    for the learned nonlinear blur of "Explore Image Deblurring via Encoded Blur Kernel Space" (Tran
    et al., 2021), https://arxiv.org/abs/2104.00317, used in benchmarks, not that operator itself.

    Arguments:
        sigma: Standard deviation of the Gaussian, in pixels.
        gamma: Exponent from the values of a file to light; 1 is a linear blur.
    """

    def __init__(self, sigma: float = 3.0, gamma: float = 2.2) -> None:
        super().__init__()
        for name, value in (("sigma", sigma), ("gamma", gamma)):
            if not value > 0:
                raise ValueError(f"{name} is a number above 0, got {value}")
        self.sigma = sigma
        self.gamma = gamma
        self.radius = int(4 * sigma + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) <= self.radius:
            raise ValueError(
                f"a blur of radius {self.radius} needs sides above it, got {tuple(x.shape[-2:])}"
            )
        return row_by_row(self._blur, x)  # powers round by their place in a batch

    def _blur(self, x: Tensor) -> Tensor:
        from kornia.filters import gaussian_blur2d

        size = 2 * self.radius + 1
        light = ((x + 1) / 2).clamp_min(BLACK).pow(self.gamma)
        light = gaussian_blur2d(light, (size, size), (self.sigma, self.sigma), "reflect")
        y: Tensor = 2 * light.pow(1 / self.gamma) - 1
        return y
