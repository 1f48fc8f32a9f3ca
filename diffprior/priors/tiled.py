"""Tiling: a prior runs on images of any size in overlapping windows, blended at every call."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..errors import SettingError
from ..networks.padding import pad
from ..phases import part_done
from ..validation import warn
from .base import Prior, Wrapper

__all__ = ["TiledPrior"]

SMALLEST = 64  # px; a window is not halved below this
GRADED = 512  # px; the largest window that keeps a graph: 0.8 GB for the shipped network
GRAIN = 16  # px; windows of a network with strides are multiples of it, or would be padded


@dataclass(frozen=True)
class _Cut:
    """How one call cuts its states.

    Attributes:
        rows: States that go through the inner prior at a time.
        tile: Side of a window.
        overlap: Elements that neighboring windows share, at least.
    """

    rows: int
    tile: int
    overlap: int


class TiledPrior(Wrapper):
    """E[x_0 | x_t] assembled from windows, with linear ramps over their overlaps.

    All windows see the same noisy state and are blended before the next step of the chain, so that
    no seam can grow. When the device runs out of memory, a call first takes fewer states at a time,
    then smaller windows. The next call starts from the full size again: what a call returns does
    not depend on the calls before it. A prior of one fixed shape has windows of that shape. With
    gradients, windows are smaller and each runs again on the way back, so that the memory needed is
    that of one window.

    Arguments:
        inner: A prior of images ``(C, H, W)``; windows go to ``inner.for_shape``.
        tile: Side of a window, in pixels, unless the inner prior has one fixed shape.
        overlap: Pixels that neighboring windows share, at least.
        shape: Shape of an image.
    """

    def __init__(
        self, inner: Prior, tile: int = 512, overlap: int = 64, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__(inner)
        if not 0 <= overlap < tile:
            raise SettingError(f"an overlap lies in [0, tile), got {overlap} of {tile}")
        self.shape = tuple(shape or inner.shape)
        self.fixed = not _takes(inner, (inner.shape[0], tile + GRAIN, tile))
        self.tile = min(inner.shape[-2:]) if self.fixed else tile
        self.overlap = min(overlap, self.tile // 2)
        self.warned: set[str] = set()  # each warning is shown once

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        cut = _Cut(len(x_t), self.tile, self.overlap)
        while True:
            try:
                return self._blend(x_t, t, cut)
            except torch.OutOfMemoryError:
                smaller = self._smaller(cut)
                if smaller is None:
                    raise
                cut = smaller

    def _blend(self, x_t: Tensor, t: Tensor, cut: _Cut) -> Tensor:
        h, w = x_t.shape[-2:]
        x = x_t
        if self.fixed:
            height, width = self.inner.shape[-2:]
            x = pad(x_t, max(0, height - h), max(0, width - w))
        total = torch.zeros_like(x)
        weight = torch.zeros_like(x[:1, :1])
        if x.requires_grad and not self.fixed:
            cut = replace(cut, tile=min(cut.tile, GRADED))
        windows = list(self._windows(x.shape[-2], x.shape[-1], cut))
        again = x.requires_grad and len(windows) > 1
        for done, (rows, columns) in enumerate(windows, 1):
            ramp = _ramp(rows, x, cut.overlap)[:, None] * _ramp(columns, x, cut.overlap)
            window = self._denoise(x[..., rows, columns], t, cut.rows, again)
            total[..., rows, columns] += ramp * window
            weight[..., rows, columns] += ramp
            part_done("window", done, len(windows))
        mean = total / weight if total.requires_grad else total.div_(weight)
        return mean[..., :h, :w]

    def _denoise(self, x: Tensor, t: Tensor, rows: int, again: bool) -> Tensor:
        """Denoise one window; with ``again`` its graph is dropped, and rebuilt on the way back."""
        prior = self.inner.for_shape(x.shape[1:])
        parts = torch.split(x, rows)
        if again:
            return torch.cat([checkpoint(prior, part, t, use_reentrant=False) for part in parts])
        return torch.cat([prior(part, t) for part in parts])

    def windows(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of each window of an image, row by row."""
        return self._windows(height, width, _Cut(1, self.tile, self.overlap))

    def _windows(self, height: int, width: int, cut: _Cut) -> Iterator[tuple[slice, slice]]:
        high, wide = self.inner.shape[-2:] if self.fixed else (cut.tile, cut.tile)
        for rows in self._spans(height, high, cut.overlap):
            for columns in self._spans(width, wide, cut.overlap):
                yield rows, columns

    def _spans(self, length: int, tile: int, overlap: int) -> list[slice]:
        """Return windows that share ``overlap`` at least, no larger than they need to be."""
        if length <= tile:
            return [slice(0, length)]
        count = math.ceil((length - overlap) / (tile - overlap))
        side = tile
        if not self.fixed:
            need = math.ceil((length + (count - 1) * overlap) / count)
            side = min(side, math.ceil(need / GRAIN) * GRAIN)
        starts = (round(k * (length - side) / (count - 1)) for k in range(count))
        return [slice(i, i + side) for i in starts]

    def _smaller(self, cut: _Cut) -> _Cut | None:
        """Return a cut that needs less memory, with a warning, or None if there is none."""
        if cut.rows > 1:
            cut = replace(cut, rows=cut.rows // 2)
            text = f"{cut.rows} images at a time"
        elif cut.tile // 2 >= SMALLEST and not self.fixed:
            tile = cut.tile // 2
            cut = replace(cut, tile=tile, overlap=min(cut.overlap, tile // 4))
            text = f"windows of {tile} pixels"
        else:
            return None
        if text not in self.warned:
            self.warned.add(text)
            warn(f"out of memory: going on with {text}", RuntimeWarning)
        return cut

    def with_inner(self, inner: Prior) -> "TiledPrior":
        return TiledPrior(inner, self.tile, self.overlap, self.shape)

    def for_shape(self, shape: Sequence[int]) -> Self:
        return self._replace(shape=tuple(shape))

    def with_time_shift(self, shape: Sequence[int]) -> Prior:
        first = next(self.windows(*shape[1:]))  # all windows have one size
        return super().with_time_shift((shape[0], *(part.stop - part.start for part in first)))


def _ramp(window: slice, like: Tensor, overlap: int) -> Tensor:
    n = window.stop - window.start
    i = torch.arange(n, dtype=like.dtype, device=like.device)
    edge = torch.minimum(i, n - 1 - i) + 1
    return (edge / (overlap + 1)).clamp_max(1)


def _takes(prior: Prior, shape: Sequence[int]) -> bool:
    """Return whether a prior has a ``for_shape`` of this shape."""
    try:
        prior.for_shape(shape)
    except ValueError:
        return False
    return True
