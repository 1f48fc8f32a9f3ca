"""Smooth fills of holes by interpolation, which a chain may start from."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..bands import bands, is_large
from ..batching import row_by_row
from ..phases import phase
from ..solvers import cg
from ._distances import to_border

__all__ = [
    "biharmonic",
    "by_rows",
    "fill_flat",
    "flat_holes",
    "laplacian",
    "local_mean",
    "local_means",
    "pyramid",
]

REACH = 8  # px
SPARSE = 0.05  # of a large image; the pixels of a smaller hole alone are unknowns

Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Values = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


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
        phase("filling holes")
        start = pyramid(x, hole)
        if is_large(x) and x.device.type == "cpu" and hole.float().mean() < SPARSE:
            return _refined(start, hole[0, 0], iterations)
        m = hole.to(x)
        residual = -m * laplacian(laplacian(start))
        return start + cg(lambda v: m * laplacian(laplacian(v)), residual, iterations, 1e-4)

    return row_by_row(fill, x, hole.expand(len(x), -1, -1, -1))


def _refined(start: Tensor, hole: Tensor, iterations: int) -> Tensor:
    """Return the fill that ``biharmonic`` goes to from a start, which it overwrites.

    The pixels of the hole alone are unknowns, so that a small hole of a large image takes little.

    Arguments:
        start: One image ``(1, C, H, W)``, on the CPU.
        hole: Of shape ``(H, W)``.
    """
    lost = hole.numpy()
    pixels = start[0].flatten(1)
    M, curved = _laplacians(lost, pixels.numpy())
    A = (M.T @ M).tocsr()
    b = torch.from_numpy(-(M.T @ curved))
    found = cg(lambda v: torch.from_numpy(A @ v[0].numpy())[None], b[None], iterations, 1e-4)
    pixels[:, torch.from_numpy(np.flatnonzero(lost))] += found[0].T
    return start


def _laplacians(hole: Mask, pixels: Values) -> tuple[Any, Values]:
    """Return the matrix from hole to the Laplacians that it changes, and their values ``(n, C)``.

    Arguments:
        hole: Of shape ``(H, W)``.
        pixels: The image, ``(C, H * W)``.
    """
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    height, width = hole.shape
    near = hole.copy()
    for axis in (0, 1):
        a, b = (np.moveaxis(plane, axis, 0) for plane in (near, hole))
        a[1:] |= b[:-1]
        a[:-1] |= b[1:]
    at = np.flatnonzero(near)
    row, column = np.divmod(at, width)
    inside = np.full(hole.size, -1, np.int32)
    inside[hole.ravel()] = np.arange(hole.sum(), dtype=np.int32)
    curved = np.zeros((len(at), len(pixels)), pixels.dtype)
    entries = []
    sides = (
        (-width, row > 0),
        (width, row < height - 1),
        (-1, column > 0),
        (1, column < width - 1),
    )
    for step, there in sides:
        own = np.flatnonzero(there)
        curved[own] += (pixels[:, at[own] + step] - pixels[:, at[own]]).T
        for of, value in ((at[own] + step, 1.0), (at[own], -1.0)):
            is_free = inside[of] >= 0
            entries.append((own[is_free], inside[of[is_free]], np.full(is_free.sum(), value)))
    rows, columns, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    shape = (len(at), int(hole.sum()))
    return csr_matrix((values.astype(pixels.dtype), (rows, columns)), shape), curved


def pyramid(x: Tensor, hole: Tensor) -> Tensor:
    """Return the images filled by pull-push: means of the known pixels, from coarser levels.

    "The Lumigraph" (Gortler et al., 1996), sec. 3.4. Arguments as for ``biharmonic``.
    """
    known = 1 - hole.to(x)
    if bool((known > 0).all()) or max(x.shape[-2:]) == 1:
        return x
    mean, weight = _block_means(x, known, 2)
    del known
    coarse = pyramid(mean, weight == 0)

    def filled(rows: slice) -> Tensor:
        up = _enlarged(coarse, 2, rows, x.shape[-1])
        return torch.where(hole[..., rows, :], up, x[..., rows, :])

    return by_rows(filled, x, 2)


def local_mean(x: Tensor, known: Tensor, side: int) -> Tensor:
    """Return the means of the known pixels of blocks, interpolated to all pixels by pull-push.

    Arguments:
        x: Of shape ``(B, C, H, W)``.
        known: 1 where x counts and 0 elsewhere, ``(B or 1, C or 1, H, W)``; not 0 everywhere.
        side: The side of a block, in pixels.
    """
    return by_rows(local_means(x, known, side), x, side)


def local_means(x: Tensor, known: Tensor, side: int) -> Callable[[slice], Tensor]:
    """Return what returns rows of ``local_mean``, from a multiple of the side on.

    It holds the means of the blocks alone.
    """
    width = x.shape[-1]
    mean, weight = _block_means(x, known, side)
    filled = pyramid(mean, (weight == 0).expand_as(mean))
    return lambda rows: _enlarged(filled, side, rows, width)


def _block_means(x: Tensor, known: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the means of the known pixels of blocks, 0 where there is none, and their share."""
    h, w = x.shape[-2:]
    parts = []
    for rows in bands(x, side) if is_large(x) else [slice(0, h)]:
        whole = (0, -w % side, 0, (rows.start - rows.stop) % side)
        own = known[..., rows, :]
        weight = F.avg_pool2d(F.pad(own, whole), side)
        mean = F.avg_pool2d(F.pad(own * x[..., rows, :], whole), side) / weight.clamp_min(1e-8)
        parts.append((mean, weight))
    mean, weight = (torch.cat(each, -2) for each in zip(*parts, strict=True))
    return mean, weight


def _enlarged(coarse: Tensor, side: int, rows: slice, width: int) -> Tensor:
    """Return some rows of the bilinear enlargement of blocks of this side.

    Arguments:
        rows: They begin at a multiple of the side.
        width: Columns of the result.
    """
    first = max(0, rows.start // side - 1)  # a row of blocks more on both sides has its share
    last = -(-rows.stop // side) + 1
    up = F.interpolate(coarse[..., first:last, :], scale_factor=side, mode="bilinear")
    top = rows.start - first * side
    return up[..., top : top + rows.stop - rows.start, :width]


def by_rows(make: Callable[[slice], Tensor], x: Tensor, side: int) -> Tensor:
    """Return images like x of their rows: of large ones in bands that begin at blocks."""
    if not is_large(x):
        return make(slice(0, x.shape[-2]))
    out = torch.empty_like(x)
    for rows in bands(x, side):
        out[..., rows, :] = make(rows)
    return out


def flat_holes(values: np.ndarray, hole: Tensor, known: Tensor, tolerance: float) -> Tensor:
    """Return the part of the holes that one color surrounds, of the shape of ``hole``.

    The surroundings go as far as the deepest hole is deep, and ``REACH`` pixels at the least. Holes
    whose surroundings touch are looked at together.

    Arguments:
        values: Images of shape ``(B, H, W, C)``, in any unit; values in the hole do not matter.
        hole: True where to fill, ``(B, 1, H, W)``.
        known: True where the values are known, of the same shape.
        tolerance: The largest difference that counts as one color, in the unit of the values.
    """
    lost, seen = (plane[:, 0].cpu().numpy() for plane in (hole, known))
    flat = [_flat_zones(*one, tolerance) for one in zip(values, lost, seen, strict=True)]
    return torch.from_numpy(np.stack(flat))[:, None].to(hole.device) & hole


def fill_flat(x: Tensor, hole: Tensor, flat: Tensor) -> Tensor:
    """Return images with the flat part of their holes filled.

    Arguments:
        x: Images, of shape ``(B, C, H, W)``; values in the hole do not matter.
        hole: True where to fill, ``(B, 1, H, W)``; not everywhere.
        flat: The part that `flat_holes` returns.
    """
    if not flat.any():
        return x
    return torch.where(flat.to(x.device), biharmonic(x, hole.to(x.device)), x)


def _flat_zones(
    image: np.ndarray, lost: np.ndarray, known: np.ndarray, tolerance: float
) -> np.ndarray:
    """Return where a hole ``(H, W)`` and its surroundings are of one color."""
    import cv2  # takes long to import, and only masks need it

    near = _distance(~lost) <= max(REACH, float(_distance(lost).max()))
    count, zone = cv2.connectedComponents(near.astype(np.uint8))
    around = near & known & ~lost
    zones = zone[around]
    flat = np.bincount(zones, minlength=count) > 0
    for colors in image[around].T.astype(np.float32):
        low = np.full(count, np.inf, np.float32)
        high = -low
        np.minimum.at(low, zones, colors)
        np.maximum.at(high, zones, colors)
        flat &= high - low <= tolerance
    flat[0] = False
    return np.asarray(flat[zone])


def _distance(inside: np.ndarray) -> np.ndarray:
    """Return the distance of each pixel ``(H, W)`` from the nearest one that is not inside."""

    plane = inside.astype(np.uint8)
    return np.asarray(to_border(plane))


def laplacian(x: Tensor) -> Tensor:
    """Return the five-point Laplacian of ``(..., H, W)``, reflecting at the border: symmetric."""
    out = torch.zeros_like(x)
    for axis in (-1, -2):
        n = x.shape[axis] - 1
        d = x.diff(dim=axis)
        out.narrow(axis, 0, n).add_(d)
        out.narrow(axis, 1, n).sub_(d)
    return out
