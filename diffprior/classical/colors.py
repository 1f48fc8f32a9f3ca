"""Colors from strokes: propagated over a gray image."""

from functools import partial

import torch
from torch import Tensor

from ..bands import in_bands, is_large
from ..batching import row_by_row
from ..operators.gray import Gray
from ..solvers import cg
from .fill import pyramid

__all__ = ["fit_to_luma", "propagate_colors"]

EDGE = 0.05  # of luma in [-1, 1]; neighbors with a larger difference hardly share their color
LEAK = 1e-3  # weight across an edge, so that every pixel gets a color
GRAY = Gray("luminance")


def fit_to_luma(colors: Tensor, luma: Tensor) -> Tensor:
    """Return the colors with another luma; chroma is reduced where [-1, 1] cannot hold it.

    Arguments:
        colors: Of shape ``(B, 3, H, W)``, in [-1, 1].
        luma: Of shape ``(B, 1, H, W)``.
    """
    return in_bands(_fit_to_luma, colors, luma)


def _fit_to_luma(colors: Tensor, luma: Tensor) -> Tensor:
    chroma = colors - GRAY(colors)
    room = torch.where(chroma > 0, 1 - luma, 1 + luma) / chroma.abs().clamp_min(1e-6)
    return luma + chroma * room.amin(1, keepdim=True).clamp(0, 1)


def propagate_colors(colors: Tensor, known: Tensor, luma: Tensor, iterations: int = 100) -> Tensor:
    """Return colors for all pixels: the known colors, propagated along equal luma.

    The chroma u minimizes sum w (u_i - u_j)^2 over neighbors, where w falls with their difference
    in luma, by conjugate gradients from a pull-push fill. "Colorization using Optimization" (Levin
    et al., 2004), https://doi.org/10.1145/1015706.1015780, with the weights of a plain Laplacian.

    Arguments:
        colors: Of shape ``(B, 3, H, W)``; values at unknown pixels do not matter.
        known: True where a color is known, ``(B, 1, H, W)``; at least one pixel.
        luma: Of shape ``(B, 1, H, W)``.
    """
    begun = [in_bands(torch.sub, colors, luma)]  # held by nobody else: it changes in its place
    del colors
    chroma = row_by_row(partial(_propagate, iterations), begun.pop(), known, luma)
    return fit_to_luma(chroma.add_(luma), luma)


def _propagate(iterations: int, chroma: Tensor, known: Tensor, luma: Tensor) -> Tensor:
    if is_large(chroma):  # whose channels are solved for one after the other
        for c in torch.split(chroma, 1, 1):
            c[:] = _propagate_at_once(iterations, c, known, luma)
        return chroma
    return _propagate_at_once(iterations, chroma, known, luma)


def _propagate_at_once(iterations: int, chroma: Tensor, known: Tensor, luma: Tensor) -> Tensor:
    m = 1 - known.to(luma)
    weights = [_affinity(luma, axis) for axis in (-1, -2)]
    start = pyramid(chroma * (1 - m), ~known)

    def stiffness(u: Tensor) -> Tensor:
        out = torch.zeros_like(u)
        for axis, w in zip((-1, -2), weights, strict=True):
            n = u.shape[axis] - 1
            d = u.diff(dim=axis).mul_(w)
            out.narrow(axis, 0, n).sub_(d)
            out.narrow(axis, 1, n).add_(d)
        return out

    return start + cg(lambda v: stiffness(v).mul_(m), -stiffness(start).mul_(m), iterations, 1e-4)


def _affinity(luma: Tensor, axis: int) -> Tensor:
    return (-((luma.diff(dim=axis) / EDGE) ** 2) / 2).exp() + LEAK
