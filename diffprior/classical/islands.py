"""Holes of a mask that are near each other, apart from those that are far."""

from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from ._distances import to_border

__all__ = ["Island", "islands", "wide_part"]

COMPACT = 12.0  # area of a part over its squared depth, at the most
FINENESS = 8  # blocks in a margin, by which distances are measured


class Island(NamedTuple):
    """Holes near each other, and far from all others.

    Attributes:
        rows, columns: Their bounding box.
        hole: Their pixels in it, ``(h, w)`` of bool.
    """

    rows: slice
    columns: slice
    hole: Tensor

    @classmethod
    def of(cls, hole: Tensor, top: int = 0, left: int = 0) -> Self:
        """Return all holes of a part of an image, ``(h, w)`` of bool, as one island.

        Arguments:
            top, left: The place of the part.
        """
        (first, last), (start, stop) = (_ends(hole.any(axis)) for axis in (1, 0))
        return cls(
            rows=slice(top + first, top + last),
            columns=slice(left + start, left + stop),
            hole=hole[first:last, start:stop],
        )


def islands(hole: Tensor, margin: int) -> list[Island]:
    """Return the islands of a hole ``(H, W)`` of bool, from top to bottom.

    Arguments:
        margin: Pixels. Holes whose margins meet are of one island: they are up to twice as far
            apart, or a quarter more, as distances are measured in blocks. With 0 they touch, were
            it at a corner.
    """
    import cv2  # takes long to import, and only masks need it

    side = max(1, margin // FINENESS)
    blocks = _blocks(hole.cpu().numpy(), side)
    reach = -(-margin // side)
    near = cv2.dilate(blocks.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
    found = []
    for label in range(1, count):
        left, top, width, height = (int(n) for n in boxes[label, :4])
        own = np.asarray(labels[top : top + height, left : left + width]) == label
        wide = torch.from_numpy(own).repeat_interleave(side, 0).repeat_interleave(side, 1)
        y, x = top * side, left * side
        part = hole[y : y + wide.shape[0], x : x + wide.shape[1]]
        found.append(Island.of(part & wide[: part.shape[0], : part.shape[1]], y, x))
    return sorted(found, key=lambda island: (island.rows.start, island.columns.start))


def wide_part(hole: Tensor, depth: float, compact: float | None = None) -> Tensor:
    """Return the connected parts of a hole ``(H, W)`` of bool that are deeper than this.

    The depth d of a part is the largest distance of a pixel of it from the rest of the image. Its
    area over d^2 is 3.1 for a disc, 4 for a square, and over 12 for a stroke more than three times
    as long as wide.

    Arguments:
        depth: Pixels.
        compact: Depth that is enough for a part with an area of up to 12 d^2; by default, none is.
    """
    import cv2  # takes long to import, and only masks need it

    plane = hole.cpu().numpy().astype(np.uint8)
    count, labels = cv2.connectedComponents(plane, connectivity=8)
    away = to_border(plane)
    deepest = np.zeros(count, np.float32)
    np.maximum.at(deepest, labels.ravel(), away.ravel())
    wide = deepest > depth
    if compact is not None:
        area = np.bincount(labels.ravel(), minlength=count)
        wide |= (deepest > compact) & (area <= COMPACT * deepest**2)
    wide[0] = False
    return torch.from_numpy(wide[labels]).to(hole.device)


def _blocks(lost: np.ndarray, side: int) -> np.ndarray:
    """Return which blocks of a hole ``(H, W)`` hold a part of it."""
    rows, columns = (np.arange(0, length, side) for length in lost.shape)
    stripes = np.logical_or.reduceat(lost, rows, axis=0)
    return np.asarray(np.logical_or.reduceat(stripes, columns, axis=1))


def _ends(lost: Tensor) -> tuple[int, int]:
    """Return the first place of a hole, and the one after the last."""
    at = lost.nonzero()
    return int(at.min()), int(at.max()) + 1
