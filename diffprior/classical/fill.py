"""Smooth fills of holes by interpolation, which a chain may start from."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batching import row_by_row
from ..solvers import cg

__all__ = ["biharmonic", "laplacian", "pyramid"]


def biharmonic(x: Tensor, hole: Tensor, iterations: int = 60) -> Tensor:
    """Return the images with holes filled to minimize ||Laplacian x||^2; the rest is unchanged.

    Conjugate gradients from a pull-push fill. After 60 iterations, scattered holes agree with the
    exact solution of scikit-image, in a fraction of the time; wide holes stay closer to the start.

    Arguments:
        x: Images, of shape ``(B, C, H, W)``; values in the hole do not matter.
        hole: True where to fill, ``(B, 1, H, W)``; not everywhere.
        iterations: Iterations of conjugate gradients.
    """

    def fill(x: Tensor, hole: Tensor) -> Tensor:
        start = pyramid(x, hole)
        m = hole.to(x)
        residual = -m * laplacian(laplacian(start))
        return start + cg(lambda v: m * laplacian(laplacian(v)), residual, iterations, 1e-4)

    return row_by_row(fill, x, hole.expand(len(x), -1, -1, -1))


def pyramid(x: Tensor, hole: Tensor) -> Tensor:
    """Return the images filled by pull-push: means of the known pixels, from coarser levels.

    "The Lumigraph" (Gortler et al., 1996), sec. 3.4. Arguments as for ``biharmonic``.
    """
    known = 1 - hole.to(x)
    if bool((known > 0).all()) or max(x.shape[-2:]) == 1:
        return x
    h, w = x.shape[-2:]
    even = (0, w % 2, 0, h % 2)
    weight = F.avg_pool2d(F.pad(known, even), 2)
    mean = F.avg_pool2d(F.pad(known * x, even), 2) / weight.clamp_min(1e-8)
    coarse = pyramid(mean, weight == 0)
    up = F.interpolate(coarse, scale_factor=2, mode="bilinear")[..., :h, :w]
    return torch.where(hole, up, x)


def laplacian(x: Tensor) -> Tensor:
    """Return the five-point Laplacian of ``(..., H, W)``, reflecting at the border: symmetric."""
    out = torch.zeros_like(x)
    for axis in (-1, -2):
        n = x.shape[axis] - 1
        d = x.diff(dim=axis)
        out.narrow(axis, 0, n).add_(d)
        out.narrow(axis, 1, n).sub_(d)
    return out
