"""Single-coil magnetic resonance imaging: some frequencies of the image are measured."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from ._fft import fft2
from .base import SVDOperator
from .generators.frequencies import draw

__all__ = ["Fourier"]


class Fourier(SVDOperator):
    """y = keep (Re F x, Im F x), F the orthonormal, centered 2-D Fourier transform.

    V is the Hartley transform, V x = Re F x - Im F x, its own inverse. A real image has
    F x(-f) = conj F x(f), so s^2 = (keep(f) + keep(-f)) / 2, and U = A V diag(s)^+.
    "Sparse MRI: The Application of Compressed Sensing for Rapid MR Imaging" (Lustig et al., 2007),
    https://doi.org/10.1002/mrm.21391. y has the shape ``(B, 2 C, H, W)``, real parts first.

    Arguments:
        keep: True or 1 where a frequency is measured, of shape ``(H, W)``, or ``(B, H, W)`` with
            one for each image of a batch; or a text such as "radial:30", see
            ``generators.frequencies.draw``.
        shape: The shape of one state, needed if ``keep`` is a text; ``for_shape`` sets it later if
            it is not known yet.
    """

    keep: Tensor
    s: Tensor

    def __init__(
        self, keep: Tensor | str = "radial:30", shape: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.words = keep if isinstance(keep, str) else None
        self.shape = tuple(shape or ())
        if isinstance(keep, str):
            if not self.shape:
                return
            keep = draw(keep, *self.shape[-2:])
        kind = keep.dtype if keep.is_floating_point() else torch.get_default_dtype()
        keep = (keep > 0).to(kind)
        self.register_buffer("keep", keep[:, None] if keep.ndim == 3 else keep)
        self.register_buffer("s", self._share().sqrt())

    def for_shape(self, shape: Sequence[int]) -> Self:
        if self.words is not None and tuple(shape) != self.shape:
            return type(self)(self.words, shape)
        if self.keep.shape[-2:] != tuple(shape)[-2:]:
            H, W = self.keep.shape[-2:]
            raise ValueError(f"a mask of {H} x {W} frequencies cannot take states of {shape}")
        return self

    def select(self, index: Tensor) -> Self:
        return type(self)(self.keep[index, 0], self.shape) if self.keep.ndim == 4 else self

    def forward(self, x: Tensor) -> Tensor:
        z = _transform(x)
        return self.mask_unmeasured(torch.cat([z.real, z.imag], 1))

    def adjoint(self, y: Tensor) -> Tensor:
        z = torch.complex(*self.mask_unmeasured(y).chunk(2, 1)).conj()
        return _transform(z).real  # F^T = F and F^H = conj F

    def pinv(self, y: Tensor) -> Tensor:
        return self.adjoint(y / self._share().clamp_min(0.5))  # share: 0, 1/2 or 1

    def mask_unmeasured(self, y: Tensor) -> Tensor:
        return self.keep * y

    def to_spectrum(self, x: Tensor) -> Tensor:
        z = _transform(x)
        return z.real - z.imag

    def from_spectrum(self, z: Tensor) -> Tensor:
        return self.to_spectrum(z)

    def to_left(self, y: Tensor) -> Tensor:
        return self._inverse() * self.to_spectrum(self.adjoint(y))

    def from_left(self, z: Tensor) -> Tensor:
        return self(self.from_spectrum(self._inverse() * z))

    def _share(self) -> Tensor:
        """Return s^2: (keep(f) + keep(-f)) / 2."""
        H, W = self.keep.shape[-2:]
        reverse = self.keep.flip(-2, -1).roll((1 - H % 2, 1 - W % 2), (-2, -1))
        return (self.keep + reverse) / 2

    def _inverse(self) -> Tensor:
        return torch.where(self.s > 0, 1 / self.s, 0)


def _transform(x: Tensor) -> Tensor:
    """Return F x, with frequency zero at ``(H // 2, W // 2)``, the center of the image."""
    axes = (-2, -1)
    z = fft2(torch.fft.ifftshift(x, axes))
    return z.roll((x.shape[-2] // 2, x.shape[-1] // 2), axes)
