"""Blur with any kernel, and a named rule for what lies beyond the border."""

from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..bands import bands, is_large
from ._fft import convolve
from .base import LinearOperator
from .generators.kernels import kernel as read

__all__ = ["Blur"]

MODES = {"reflect": "reflect", "circular": "circular", "zero": "constant"}  # of F.pad
BOUNDARIES = ("free", *MODES)
ROWS = 512  # of a large image that are transformed at a time
ROUNDING = 1e-6  # of the largest singular value

Values = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class Blur(LinearOperator):
    """y[i] = sum_m k[m] x[i - m + h // 2], on both axes and in each channel.

    A convolution as in ``scipy.ndimage.convolve`` (the kernel is flipped), computed by FFT. With
    "reflect" and a Gaussian it is the blur of "Diffusion Posterior Sampling for General Noisy
    Inverse Problems" (Chung et al., 2023), https://arxiv.org/abs/2209.14687, which correlates:
    flip a kernel that is not symmetric. ``CircularBlur`` is the blur with an SVD.

    With "free" nothing is assumed beyond the border: x is wider than y by what k reaches in from
    there, ``(H + h - 1, W + w - 1)`` for a y of ``(H, W)``, and y is a "valid" convolution as in
    ``scipy.signal.convolve2d``. So a camera measures. Pixel [0, 0] of y is then at
    ``x[(h - 1) - h // 2, (w - 1) - w // 2]``; ``reach`` holds the widths of what is around y.

    Arguments:
        kernel: k, of shape ``(h, w)``, or ``(B, h, w)`` with one for each image of a batch; or
            a text such as "gaussian:3", see ``generators.kernels.kernel``.
        boundary: "reflect", mirrored at the centers of the border pixels, as in
            ``torch.nn.ReflectionPad2d`` and scipy's "mirror"; "circular"; "zero"; or "free".
    """

    kernel: Tensor
    by_channel = True

    def __init__(self, kernel: Tensor | str, boundary: str = "reflect") -> None:
        super().__init__()
        if boundary not in BOUNDARIES:
            raise ValueError(f"the boundary of a blur is {', '.join(BOUNDARIES)}, got {boundary!r}")
        self.boundary = boundary
        self.register_buffer("kernel", read(kernel))

    def select(self, index: Tensor) -> Self:
        batched = self.kernel.ndim == 3
        return type(self)(self.kernel[index], self.boundary) if batched else self

    @property
    def reach(self) -> tuple[int, int, int, int]:
        """How far k reaches beyond y: to the left, to the right, above and below, in pixels."""
        h, w = self.kernel.shape[-2:]
        return w - 1 - w // 2, w // 2, h - 1 - h // 2, h // 2

    def forward(self, x: Tensor) -> Tensor:
        h, w = self.kernel.shape[-2:]
        x = self._surrounded(x)
        if not is_large(x):
            return self._filter(x)[..., h - 1 :, w - 1 :]
        y = x.new_empty(*x.shape[:-2], x.shape[-2] - h + 1, x.shape[-1] - w + 1)
        factors = self._factors(x)
        for rows in bands(y, ROWS):
            part = x[..., rows.start : rows.stop + h - 1, :]
            if factors is None:
                y[..., rows, :] = self._filter(part)[..., h - 1 :, w - 1 :]
            else:
                y[..., rows, :] = _correlated(part, *(f[::-1] for f in factors))
        return y

    def adjoint(self, y: Tensor) -> Tensor:
        h, w = self.kernel.shape[-2:]
        if is_large(y):
            x = self._spread(y)
        else:
            x = self._filter(F.pad(y, (w - 1, 0, h - 1, 0)), adjoint=True)
        return x if self.boundary == "free" else self._fold(self._fold(x, h, -2), w, -1)

    def _spread(self, y: Tensor) -> Tensor:
        """Return the adjoint of a large y, with what is beyond the border of x."""
        h, w = self.kernel.shape[-2:]
        x = y.new_empty(*y.shape[:-2], y.shape[-2] + h - 1, y.shape[-1] + w - 1)
        factors = self._factors(y)
        for rows in bands(x, ROWS):
            part = y[..., max(0, rows.start - h + 1) : rows.stop, :]
            above, below = max(0, h - 1 - rows.start), max(0, rows.stop - y.shape[-2])
            if factors is None:
                wide = F.pad(part, (w - 1, 0, above, below))
                x[..., rows, :] = self._filter(wide, adjoint=True)[..., : rows.stop - rows.start, :]
            else:
                x[..., rows, :] = _correlated(F.pad(part, (w - 1, w - 1, above, below)), *factors)
        return x

    def _factors(self, x: Tensor) -> "tuple[Values, Values] | None":
        """Return the column and the row that k is the product of, as a Gaussian is one.

        None is returned where it is none, and where x is not in float32 on a CPU.
        """
        if self.kernel.ndim != 2 or x.device.type != "cpu" or x.dtype != torch.float32:
            return None
        U, s, Vh = torch.linalg.svd(self.kernel.double().cpu())
        if len(s) > 1 and s[1] > ROUNDING * s[0]:
            return None
        column, row = s[0] ** 0.5 * U[:, 0], s[0] ** 0.5 * Vh[0]
        return column.float().numpy(), row.float().numpy()

    def _surrounded(self, x: Tensor) -> Tensor:
        """Return x with what is beyond its border; x itself where that is a part of it."""
        h, w = self.kernel.shape[-2:]
        size = f"an image of {x.shape[-1]}x{x.shape[-2]}"
        if self.boundary == "free":
            if h > x.shape[-2] or w > x.shape[-1]:
                raise ValueError(f"a kernel of {w}x{h} leaves nothing to measure of {size}")
            return x
        if self.boundary != "zero" and (h // 2 >= x.shape[-2] or w // 2 >= x.shape[-1]):
            raise ValueError(f"a kernel of {w}x{h} reaches beyond the mirror image of {size}")
        return F.pad(x, self.reach, mode=MODES[self.boundary])

    def _filter(self, x: Tensor, adjoint: bool = False) -> Tensor:
        """Return the convolution with k on a torus as large as x or larger, or its adjoint."""
        height, width = x.shape[-2:]
        size = (_smooth(height), _smooth(width))
        return convolve(x, self.kernel.to(x), size, adjoint)[..., :height, :width]

    def _fold(self, x: Tensor, taps: int, axis: int) -> Tensor:
        """Add the values beyond the border to the pixels that they are copies of."""
        a = taps - 1 - taps // 2
        b = taps // 2
        n = x.shape[axis] - a - b
        before, x, after = torch.split(x, [a, n, b], axis)
        if self.boundary == "zero":
            return x
        x = x.clone()
        if self.boundary == "reflect":
            x.narrow(axis, 1, a).add_(before.flip(axis))
            x.narrow(axis, n - 1 - b, b).add_(after.flip(axis))
        else:
            x.narrow(axis, n - a, a).add_(before)
            x.narrow(axis, 0, b).add_(after)
        return x


def _correlated(x: Tensor, column: Values, row: Values) -> Tensor:
    """Return y[i, j] = sum_a,b column[a] row[b] x[i + a, j + b], where all of it lies in x.

    Of large images it takes a seventh of the time of a transform.
    """
    import cv2  # takes long to import, and few calls have large images

    h, w = x.shape[-2] - len(column) + 1, x.shape[-1] - len(row) + 1
    taps = (np.ascontiguousarray(row), np.ascontiguousarray(column))
    planes = [
        cv2.sepFilter2D(plane.numpy(), -1, *taps, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
        for plane in x.reshape(-1, *x.shape[-2:])
    ]
    return torch.stack([torch.from_numpy(p[:h, :w]) for p in planes]).reshape(*x.shape[:-2], h, w)


def _smooth(n: int) -> int:
    """Return the least product of 2, 3 and 5 that is no less than n: its transforms are fast."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1
