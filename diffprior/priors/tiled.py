"""Tiling: a prior runs on images of any size in overlapping windows, blended at every call."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..bands import LARGE, put_down
from ..errors import SettingError, UnsuitedError
from ..networks.padding import pad
from ..phases import part_done
from ..validation import warn
from .base import Prior, Wrapper

__all__ = ["TiledPrior"]

SMALLEST = 64  # px; a window is not halved below this
GRADED = 512  # px; the largest window that keeps a graph, and half of it in large images
GRAIN = 16  # px; windows of a network with strides are multiples of it, or would be padded

_Window = tuple[slice, slice]  # rows and columns


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
        graded = x.requires_grad and torch.is_grad_enabled()
        if graded and not self.fixed:
            most = GRADED if x.numel() <= LARGE else GRADED // 2
            cut = replace(cut, tile=min(cut.tile, most))
        windows = list(self._windows(x.shape[-2], x.shape[-1], cut))
        if not graded or len(windows) == 1:
            return self._mean(x, t, cut, windows)[..., :h, :w]
        first = self._denoise(x.detach()[..., *windows[0]], t, cut.rows)
        if first.requires_grad:  # parameters or conditions have gradients, too
            return self._mean(x, t, cut, windows, again=True)[..., :h, :w]
        mean: Tensor = _Again.apply(self, cut, windows, first, x, t)
        return mean[..., :h, :w]

    def _mean(
        self,
        x: Tensor,
        t: Tensor,
        cut: _Cut,
        windows: Sequence[_Window],
        first: Tensor | None = None,
        again: bool = False,
    ) -> Tensor:
        """Return the weighted mean of the windows.

        Arguments:
            first: The first window denoised, if it is known.
            again: Each window drops its graph, and runs again on the way back.
        """
        total = torch.zeros_like(x)
        weight = torch.zeros_like(x[:1, :1])
        for done, window in enumerate(windows, 1):
            ramp = _ramp(window, x, cut)
            known = first if done == 1 else None
            part = self._denoise(x[..., *window], t, cut.rows, again) if known is None else known
            total[..., *window] += ramp * part
            weight[..., *window] += ramp
            part_done("window", done, len(windows))
        return total / weight if total.requires_grad else total.div_(weight)

    def _denoise(self, x: Tensor, t: Tensor, rows: int, again: bool = False) -> Tensor:
        """Denoise one window; with ``again`` its graph is dropped, and rebuilt on the way back."""
        prior = self.inner.for_shape(x.shape[1:])
        parts = torch.split(x, rows)
        if again:
            return torch.cat([checkpoint(prior, part, t, use_reentrant=False) for part in parts])
        return torch.cat([prior(part, t) for part in parts])

    def _pull_back(
        self, x: Tensor, t: Tensor, v: Tensor, cut: _Cut, windows: Sequence[_Window]
    ) -> Tensor:
        """Return J^T v for the Jacobian J of the weighted mean by x; one window has a graph."""
        out = torch.zeros_like(x)
        weight = torch.zeros_like(x[:1, :1])
        for window in windows:
            weight[..., *window] += _ramp(window, x, cut)
        for done, window in enumerate(windows, 1):
            share = _ramp(window, x, cut) / weight[..., *window] * v[..., *window]
            with torch.enable_grad():
                leaf = x[..., *window].detach().requires_grad_()
                part = self._denoise(leaf, t, cut.rows)
            out[..., *window] += torch.autograd.grad(part, leaf, share)[0]
            part_done("gradient of a window", done, len(windows))
        return out

    def windows(self, height: int, width: int) -> Iterator[_Window]:
        """Yield the rows and columns of each window of an image, row by row."""
        return self._windows(height, width, _Cut(1, self.tile, self.overlap))

    def _windows(self, height: int, width: int, cut: _Cut) -> Iterator[_Window]:
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


class _Again(torch.autograd.Function):
    """The mean of the windows of a prior, which keeps no graph: they run again on the way back.

    A graph of slices would make tensors of the size of the image for each window.
    """

    @staticmethod
    def forward(
        ctx: Any,
        prior: TiledPrior,
        cut: _Cut,
        windows: Sequence[_Window],
        first: Tensor,
        x: Tensor,
        t: Tensor,
    ) -> Tensor:
        ctx.prior, ctx.cut, ctx.windows = prior, cut, windows
        ctx.save_for_backward(x, t)
        return put_down(prior._mean(x, t, cut, windows, first))

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise UnsuitedError(
                "gradients of gradients do not pass the windows of a prior: "
                "give it a tile as large as the image"
            )
        x, t = ctx.saved_tensors
        grad = ctx.prior._pull_back(x, t, v, ctx.cut, ctx.windows)
        return None, None, None, None, grad, None


def _ramp(window: _Window, like: Tensor, cut: _Cut) -> Tensor:
    """Return the weights of a window, which rise and fall over its overlaps, ``(h, w)``."""
    rows, columns = (_line(part, like, cut.overlap) for part in window)
    return rows[:, None] * columns


def _line(part: slice, like: Tensor, overlap: int) -> Tensor:
    n = part.stop - part.start
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
