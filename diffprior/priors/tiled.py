"""A prior run on pictures of any size by overlapping windows, blended at every denoising call."""

import copy
import math
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .base import Prior, Wrapper
from .network import reflect

__all__ = ["TiledPrior"]

SMALLEST = 64  # px; a window is not halved below this


class TiledPrior(Wrapper):
    """E[x_0 | x_t] pieced together from windows, with ramps over their overlaps.

    All windows meet the same noisy state, and blend before the next step of the chain: no seam can
    grow. When the device runs out of memory, rows are denoised in halves, then windows halve, with
    one warning. A prior of one fixed size has windows of that size.

    Arguments:
        inner: A prior of pictures ``(C, H, W)``; its ``on`` is asked for windows.
        tile: Side of a window, in pixels; the inner prior's own shape where it has but one.
        overlap: Pixels that neighbours share, at least.
        shape: Shape of a picture.
    """

    def __init__(
        self, inner: Prior, tile: int = 512, overlap: int = 64, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__(inner)
        if not 0 <= overlap < tile:
            raise ValueError(f"an overlap lies in [0, tile), got {overlap} of {tile}")
        self.shape = tuple(shape or inner.shape)
        self.tile, self.overlap, self.rows = tile, overlap, 0

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        while True:
            try:
                return self._blend(x_t, t)
            except torch.OutOfMemoryError:
                self._shrink(len(x_t))

    def _blend(self, x_t: Tensor, t: Tensor) -> Tensor:
        h, w = x_t.shape[-2:]
        x = reflect(x_t, self._side(min(h, w))) if min(h, w) < self._side(min(h, w)) else x_t
        total = torch.zeros_like(x)
        weight = torch.zeros_like(x[:1, :1])
        for rows, columns in self.windows(*x.shape[-2:]):
            ramp = self._ramp(rows, x)[:, None] * self._ramp(columns, x)
            total[..., rows, columns] += ramp * self._denoise(x[..., rows, columns], t)
            weight[..., rows, columns] += ramp
        return (total / weight)[..., :h, :w]

    def _denoise(self, x: Tensor, t: Tensor) -> Tensor:
        prior = self.inner.on(x.shape[1:])
        return torch.cat([prior(part, t) for part in torch.split(x, self.rows or len(x))])

    def _side(self, side: int) -> int:
        """Return the side of a window on pictures of this side."""
        try:
            self.inner.on((self.shape[0], self.tile, self.tile))
        except ValueError:
            return self.inner.shape[-1]
        return min(self.tile, side)

    def windows(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of each window."""
        side = self._side(max(height, width))
        for i in self._starts(height, side):
            for j in self._starts(width, side):
                yield slice(i, i + min(side, height)), slice(j, j + min(side, width))

    def _starts(self, length: int, side: int) -> list[int]:
        step = max(side - self.overlap, (side + 1) // 2)  # an overlap of half a window is enough
        count = 1 + max(0, math.ceil((length - side) / step))
        return [
            round(k * (length - side) / max(count - 1, 1)) if count > 1 else 0 for k in range(count)
        ]

    def _ramp(self, window: slice, like: Tensor) -> Tensor:
        n = window.stop - window.start
        i = torch.arange(n, dtype=like.dtype, device=like.device)
        edge = torch.minimum(i, n - 1 - i) + 1
        return (edge / (self.overlap + 1)).clamp_max(1)

    def _shrink(self, rows: int) -> None:
        now = self.rows or rows
        if now > 1:
            self.rows, what = now // 2, f"{now // 2} pictures at a time"
        elif self.tile // 2 >= SMALLEST:
            self.tile, what = self.tile // 2, f"windows of {self.tile // 2} pixels"
            self.overlap = min(self.overlap, self.tile // 4)
        else:
            raise
        warnings.warn(f"out of memory: going on with {what}", RuntimeWarning, stacklevel=2)

    def rewrap(self, inner: Prior) -> "TiledPrior":
        return TiledPrior(inner, self.tile, self.overlap, self.shape)

    def on(self, shape: Sequence[int]) -> "TiledPrior":
        prior = copy.copy(self)
        prior.shape = tuple(shape)
        return prior
