"""Blur with periodic borders, whose SVD is given by the Fourier transform of the kernel."""

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ._fft import fft2
from .base import SVDOperator
from .generators.kernels import kernel as read

__all__ = ["CircularBlur"]


class CircularBlur(SVDOperator):
    """y = k * x, the ``Blur`` with the boundary "circular"; k_hat = s e^(i phi) is its transform.

    V is the Hartley transform, V x = Re F x - Im F x: real, orthonormal and its own inverse
    ("Discrete Hartley Transform", Bracewell, 1983, https://doi.org/10.1364/JOSA.73.001832).
    A factor e^(i phi) turns each pair of frequencies f and -f, so
    U z = V (cos(phi) z - sin(phi) z(-f)) and U^T y = cos(phi) V y + sin(phi) (V y)(-f).

    Arguments:
        kernel: k, of shape ``(h, w)``, or ``(B, h, w)`` with one for each image of a batch; or
            a text such as "gaussian:3", see ``generators.kernels.kernel``.
        shape: The shape of one state; ``for_shape`` sets it later if it is not known yet.
    """

    kernel: Tensor
    by_channel = True
    s: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, kernel: Tensor | str, shape: Sequence[int] | None = None) -> None:
        super().__init__()
        self.register_buffer("kernel", read(kernel))
        self.shape = tuple(shape or ())
        if self.shape:
            s, phase = _polar(self.kernel, *self.shape[-2:])
            for name, part in {"s": s, "cos": phase.real, "sin": phase.imag}.items():
                self.register_buffer(name, part.to(self.kernel))

    def for_shape(self, shape: Sequence[int]) -> Self:
        return self if tuple(shape) == self.shape else type(self)(self.kernel, shape)

    def select(self, index: Tensor) -> Self:
        return type(self)(self.kernel[index], self.shape) if self.kernel.ndim == 3 else self

    def to_spectrum(self, x: Tensor) -> Tensor:
        z = fft2(x)
        return z.real - z.imag

    def from_spectrum(self, z: Tensor) -> Tensor:
        return self.to_spectrum(z)

    def to_left(self, y: Tensor) -> Tensor:
        z = self.to_spectrum(y)
        return self.cos * z + self.sin * _reverse(z)

    def from_left(self, z: Tensor) -> Tensor:
        return self.from_spectrum(self.cos * z - self.sin * _reverse(z))


def _reverse(z: Tensor) -> Tensor:
    """Return z at the frequencies -f."""
    return z.flip(-2, -1).roll((1, 1), (-2, -1))


def _polar(kernel: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return |k_hat| and e^(i phi), of shape ``(H, W)`` or ``(B, 1, H, W)``, in float64."""
    h, w = kernel.shape[-2:]
    if h > height or w > width:
        raise ValueError(f"a kernel of {w}x{h} does not fit an image of {width}x{height}")
    k = F.pad(kernel.detach().cpu().double(), (0, width - w, 0, height - h))
    k_hat = torch.fft.fft2(k.roll((-(h // 2), -(w // 2)), (-2, -1)))
    k_hat = k_hat[:, None] if kernel.ndim == 3 else k_hat
    s = k_hat.abs()
    real = s > 1e-12 * s.amax(
        (-2, -1), keepdim=True
    )  # the rest is rounding, whose phase has no meaning
    return torch.where(real, s, 0), torch.where(real, k_hat / s, 1)
