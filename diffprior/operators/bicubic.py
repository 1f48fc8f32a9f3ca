"""Super-resolution as in most benchmarks: y is the image, reduced with bicubic weights."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..phases import phase
from .base import SVDOperator

__all__ = ["Bicubic", "weights"]

LONG = 2048  # entries of an axis; of longer ones a square matrix V would fill the memory


class Bicubic(SVDOperator):
    """y = A_h x A_w^T, both of the rows of ``weights``: antialiased, like MATLAB's ``imresize``.

    A_h = U_h diag(s_h) V_h^T and A_w likewise, so z = V_h^T x V_w and s = s_h s_w^T. The kernel is
    that of "Cubic Convolution Interpolation for Digital Image Processing" (Keys, 1981),
    https://doi.org/10.1109/TASSP.1981.1163711. Sides may have any length; those of y are rounded
    up.

    Of an axis of more than 2048 pixels the columns of V that meet s > 0 are held alone, in float32.
    The rest of them is made where a spectrum is asked for.

    Arguments:
        factor: N, at least 2.
        shape: The shape of one state; ``for_shape`` sets it later if it is not known yet.
    """

    by_channel = True
    s: Tensor
    U_h: Tensor
    V_h: Tensor
    U_w: Tensor
    V_w: Tensor

    def __init__(self, factor: int = 4, shape: Sequence[int] | None = None) -> None:
        super().__init__()
        if factor < 2:
            raise ValueError(f"the factor of a bicubic map is an integer from 2 on, got {factor}")
        self.factor = factor
        self.shape = tuple(shape or ())
        if self.shape:
            (U_h, s_h, V_h), (U_w, s_w, V_w) = (_svd(n, factor) for n in self.shape[-2:])
            self.register_buffer("s", torch.outer(s_h, s_w).to(torch.get_default_dtype()))
            for name, part in {"U_h": U_h, "V_h": V_h, "U_w": U_w, "V_w": V_w}.items():
                self.register_buffer(name, part)

    def for_shape(self, shape: Sequence[int]) -> Self:
        return self if tuple(shape) == self.shape else type(self)(self.factor, shape)

    def forward(self, x: Tensor) -> Tensor:
        h, w = len(self.U_h), len(self.U_w)  # the rest of V meets s = 0
        z = _between(self.V_h[:, :h].mT, x, self.V_w[:, :w])
        return _between(self.U_h, self.s[:h, :w] * z, self.U_w.mT)

    def adjoint(self, y: Tensor) -> Tensor:
        h, w = len(self.U_h), len(self.U_w)
        z = _between(self.U_h.mT, y, self.U_w)
        return _between(self.V_h[:, :h], self.s[:h, :w] * z, self.V_w[:, :w].mT)

    def filtered(self, gain: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
        h, w = len(self.U_h), len(self.U_w)
        if max(self.shape[-2:]) > LONG:  # the rest of z is 0
            z = gain(self.s[:h, :w]) * _between(self.U_h.mT, y, self.U_w)
            return _between(self.V_h[:, :h], z, self.V_w[:, :w].mT)
        return super().filtered(gain, y)

    def to_spectrum(self, x: Tensor) -> Tensor:
        return _between(_complete(self.V_h).mT, x, _complete(self.V_w))

    def from_spectrum(self, z: Tensor) -> Tensor:
        return _between(_complete(self.V_h), z, _complete(self.V_w).mT)

    def to_left(self, y: Tensor) -> Tensor:
        z = _between(self.U_h.mT, y, self.U_w)
        H, W = self.s.shape
        h, w = z.shape[-2:]
        return F.pad(z, (0, W - w, 0, H - h))

    def from_left(self, z: Tensor) -> Tensor:
        return _between(self.U_h, z[..., : len(self.U_h), : len(self.U_w)], self.U_w.mT)


def weights(n: int, factor: int) -> Tensor:
    """Return A of one axis, of shape ``(ceil(n / N), n)``, in float64.

    A_ij = k((j - c_i) / N) / sum_j k((j - c_i) / N), with the center c_i = N (i + 1/2) - 1/2 of
    output i. The image is mirrored at its borders, with the border pixels repeated.
    """
    c = factor * (torch.arange(-(-n // factor), dtype=torch.float64)[:, None] + 0.5) - 0.5
    j = (c - 2 * factor).floor() + torch.arange(4 * factor + 2)
    k = _cubic((j - c) / factor)
    j = j.long() % (2 * n)
    j = torch.where(j < n, j, 2 * n - 1 - j)
    return torch.zeros(len(c), n, dtype=k.dtype).scatter_add_(1, j, k / k.sum(1, keepdim=True))


def _between(P: Tensor, x: Tensor, Q: Tensor) -> Tensor:
    """Return P x Q of each image, one product per image on a copy of its own.

    So the result does not depend, to the last bit, on the batch or on memory alignment.
    """
    P, Q = P.to(x), Q.to(x)
    if len(x) == 1:
        return (P @ (x[0].clone() @ Q))[None]
    return torch.stack([P @ (row.clone() @ Q) for row in x])


def _cubic(x: Tensor) -> Tensor:
    """Return Keys' kernel of a = -1/2."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0))


@lru_cache(maxsize=8)
def _svd(n: int, factor: int) -> tuple[Tensor, ...]:
    """Return U, s padded with zeros to ``n`` entries, and V or its first columns.

    They are in float64, so that they are orthonormal in float32, too; those of a long axis are in
    float32.
    """
    A = weights(n, factor)
    if n <= LONG:
        U, s, Vh = torch.linalg.svd(A)
        return U, F.pad(s, (0, n - len(s))), Vh.mT
    phase("preparing the filter")
    squares, U = torch.linalg.eigh(A @ A.mT)  # s is far from 0, and none of it is lost
    s, U = squares.flip(0).sqrt(), U.flip(1)
    parts = U, F.pad(s, (0, n - len(s))), A.mT @ (U / s)
    return tuple(part.to(torch.get_default_dtype()) for part in parts)


def _complete(V: Tensor) -> Tensor:
    """Return V ``(n, k)`` of orthonormal columns with n - k more of them."""
    n, k = V.shape
    if n == k:
        return V
    rest = torch.linalg.qr(V, mode="complete")[0][:, k:]
    return torch.cat([V, rest], 1)
