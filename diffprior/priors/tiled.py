"""A prior run on images of any size by overlapping windows, blended at every denoising call."""

import copy
import math
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .base import Prior, Wrapper
from .network import widened

__all__ = ["TiledPrior"]

SMALLEST = 64  # px; a window is not halved below this
GRADED = 512  # px; the largest window that keeps a graph: 0.8 GB for the shipped network
GRAIN = 16  # px; windows of a network with strides are multiples of it, or would be padded


class TiledPrior(Wrapper):
    """E[x_0 | x_t] pieced together from windows, with ramps over their overlaps.

    All windows meet the same noisy state, and blend before the next step of the chain: no seam can
    grow. When the device runs out of memory, rows are denoised in halves, then windows halve, with
    one warning. A prior of one fixed shape has windows of it. Where gradients are asked for,
    windows are smaller, and each is run again on the way back, so that memory is that of one.

    Arguments:
        inner: A prior of images ``(C, H, W)``; its ``for_shape`` is asked for windows.
        tile: Side of a window, in pixels, where the inner prior has not one shape of its own.
        overlap: Pixels that neighbors share, at least.
        shape: Shape of an image.
    """

    def __init__(
        self, inner: Prior, tile: int = 512, overlap: int = 64, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__(inner)
        if not 0 <= overlap < tile:
            raise ValueError(f"an overlap lies in [0, tile), got {overlap} of {tile}")
        self.shape = tuple(shape or inner.shape)
        self.fixed = not _takes(inner, (inner.shape[0], tile + GRAIN, tile))
        self.tile = min(inner.shape[-2:]) if self.fixed else tile
        self.overlap, self.rows = min(overlap, self.tile // 2), 0

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        while True:
            try:
                return self._blend(x_t, t)
            except torch.OutOfMemoryError:
                self._shrink(len(x_t))

    def _blend(self, x_t: Tensor, t: Tensor) -> Tensor:
        h, w = x_t.shape[-2:]
        x = x_t
        if self.fixed:
            height, width = self.inner.shape[-2:]
            x = widened(x_t, max(0, height - h), max(0, width - w))
        total, weight = torch.zeros_like(x), torch.zeros_like(x[:1, :1])
        tile = min(self.tile, GRADED) if x.requires_grad and not self.fixed else self.tile
        windows = list(self.windows(x.shape[-2], x.shape[-1], tile))
        again = x.requires_grad and len(windows) > 1
        for rows, columns in windows:
            ramp = self._ramp(rows, x)[:, None] * self._ramp(columns, x)
            total[..., rows, columns] += ramp * self._denoise(x[..., rows, columns], t, again)
            weight[..., rows, columns] += ramp
        return (total / weight)[..., :h, :w]

    def _denoise(self, x: Tensor, t: Tensor, again: bool) -> Tensor:
        """Denoise one window; with ``again`` its graph is dropped, and made anew going back."""
        prior, parts = self.inner.for_shape(x.shape[1:]), torch.split(x, self.rows or len(x))
        if again:
            return torch.cat([checkpoint(prior, part, t, use_reentrant=False) for part in parts])
        return torch.cat([prior(part, t) for part in parts])

    def windows(
        self, height: int, width: int, tile: int | None = None
    ) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of each window, row by row."""
        tile = tile or self.tile
        high, wide = self.inner.shape[-2:] if self.fixed else (tile, tile)
        for rows in self._spans(height, high):
            for columns in self._spans(width, wide):
                yield rows, columns

    def _spans(self, length: int, tile: int) -> list[slice]:
        """Return windows that share ``overlap`` at least, no larger than they need to be."""
        if length <= tile:
            return [slice(0, length)]
        count = math.ceil((length - self.overlap) / (tile - self.overlap))
        side = tile
        if not self.fixed:
            need = math.ceil((length + (count - 1) * self.overlap) / count)
            side = min(side, math.ceil(need / GRAIN) * GRAIN)
        starts = (round(k * (length - side) / (count - 1)) for k in range(count))
        return [slice(i, i + side) for i in starts]

    def _ramp(self, window: slice, like: Tensor) -> Tensor:
        n = window.stop - window.start
        i = torch.arange(n, dtype=like.dtype, device=like.device)
        edge = torch.minimum(i, n - 1 - i) + 1
        return (edge / (self.overlap + 1)).clamp_max(1)

    def _shrink(self, rows: int) -> None:
        now = self.rows or rows
        if now > 1:
            self.rows, what = now // 2, f"{now // 2} images at a time"
        elif self.tile // 2 >= SMALLEST and not self.fixed:
            self.tile, what = self.tile // 2, f"windows of {self.tile // 2} pixels"
            self.overlap = min(self.overlap, self.tile // 4)
        else:
            raise
        warnings.warn(f"out of memory: going on with {what}", RuntimeWarning, stacklevel=2)

    def with_inner(self, inner: Prior) -> "TiledPrior":
        return TiledPrior(inner, self.tile, self.overlap, self.shape)

    def for_shape(self, shape: Sequence[int]) -> "TiledPrior":
        prior = copy.copy(self)
        prior.shape = tuple(shape)
        return prior

    def with_time_shift(self, shape: Sequence[int]) -> Prior:
        first = next(self.windows(*shape[1:]))  # all are of one size
        return super().with_time_shift((shape[0], *(part.stop - part.start for part in first)))


def _takes(prior: Prior, shape: Sequence[int]) -> bool:
    """Return whether a prior can be one of states of this shape."""
    try:
        prior.for_shape(shape)
    except ValueError:
        return False
    return True
