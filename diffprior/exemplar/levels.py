"""Images with a hole, from fine to coarse."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..classical._distances import to_border
from ..classical.fill import pyramid as pull_push

__all__ = ["Level", "coordinates", "depth", "distance", "levels", "nearest"]

LEAST_SIDE = 32  # px of the coarsest level
LEAST_KNOWN = 256  # pixels of it that are known


class Level(NamedTuple):
    """An image with a hole.

    Attributes:
        image: Values ``(C, H, W)``, 0 where not known.
        hole: True where to fill, ``(H, W)``.
        known: True where a pixel may be copied, ``(H, W)``; nowhere in the hole.
        texture: Mean absolute differences of the finest level in both directions, ``(2, H, W)``.
        column: The column of each column in its own image, ``(W,)``: an image may have others of
            the scene beside it, or itself mirrored.
    """

    image: Tensor
    hole: Tensor
    known: Tensor
    texture: Tensor
    column: Tensor

    @classmethod
    def of(cls, image: Tensor, hole: Tensor, known: Tensor | None = None) -> "Level":
        """Return an image and its hole; all that is not to be filled is known by default."""
        known = ~hole if known is None else known
        image = torch.where(known, image, 0.0)
        gray = image.mean(0)
        across = F.pad(gray.diff(dim=1).abs(), (0, 1))
        down = F.pad(gray.diff(dim=0).abs(), (0, 0, 0, 1))
        seen = ~F.pad(known, (0, 1, 0, 1), value=True)
        unsure = seen[:-1, :-1] | seen[:-1, 1:] | seen[1:, :-1]
        texture = torch.stack([across, down])[None]
        if not unsure.all():
            texture = pull_push(texture, unsure[None, None])
        return cls(image, hole, known, texture[0], torch.arange(hole.shape[1]))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        height, width = self.hole.shape
        return height, width

    def places(self, at: Tensor) -> Tensor:
        """Return pixels ``(N, 2)`` by row and column in the image that each belongs to."""
        return torch.stack([at[:, 0], self.column[at[:, 1]]], 1)

    def knows(self, at: Tensor) -> Tensor:
        """Return whether places ``(..., 2)``, by row and column, are known pixels."""
        height, width = self.size
        row, column = at.unbind(-1)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        return inside & self.known[row.clamp(0, height - 1), column.clamp(0, width - 1)]

    def left(self, width: int) -> "Level":
        """Return the first columns."""
        return Level(*(plane[..., :width] for plane in self))

    def mirrored(self) -> "Level":
        """Return the known part with left and right exchanged, and nothing to fill."""
        image, hole, known, texture, column = (plane.flip(-1) for plane in self)
        return Level(image, torch.zeros_like(hole), known, texture, column)

    def halved(self, *, strict: bool = True) -> "Level":
        """Return the level of half the size.

        Arguments:
            strict: A pixel of which any part is to be filled is filled, and one that is known in
                part is not known. Otherwise it is known, so that thin lines stay.
        """
        height, width = self.size
        even = (0, width % 2, 0, height % 2)
        planes = torch.stack([self.hole, self.known]).to(self.image)[None]
        lost, weight = F.avg_pool2d(F.pad(planes, even, mode="replicate"), 2)[0]
        both = torch.cat([self.image, self.texture]) * self.known
        mean = F.avg_pool2d(F.pad(both[None], even, mode="replicate"), 2)[0]
        mean = mean / weight.clamp_min(1e-6)
        known = (weight == 1) & (lost == 0) if strict else weight > 0
        hole = (lost > 0) & ~known
        return Level(mean[:-2], hole, known, mean[-2:], self.column[::2] // 2)


def levels(level: Level, deepest: float) -> list[Level]:
    """Return a level and its halves, until the hole is at most ``deepest`` pixels deep."""
    out = [level]
    while depth(out[-1].hole) > deepest:
        half = out[-1].halved()
        if min(half.size) < LEAST_SIDE or int(half.known.sum()) < LEAST_KNOWN:
            break
        out.append(half)
    return out


def depth(hole: Tensor) -> float:
    """Return the largest distance of a lost pixel ``(H, W)`` from the known ones, in pixels."""
    return float(distance(hole).max())


def distance(inside: Tensor) -> Tensor:
    """Return the distance of each pixel ``(H, W)`` from the nearest one that is not inside."""
    return torch.from_numpy(to_border(inside.cpu().numpy().astype(np.uint8)))


def nearest(area: Tensor) -> Tensor:
    """Return row and column of the pixel of an area that is nearest to each, ``(H, W, 2)``.

    Arguments:
        area: True in the area, ``(H, W)``; somewhere at the least.
    """
    import cv2  # takes long to import, and only holes need it

    plane = (~area).cpu().numpy().astype(np.uint8)
    _, numbers = cv2.distanceTransformWithLabels(
        plane, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    number = torch.from_numpy(numbers).long()
    at = torch.zeros(int(number.max()) + 1, 2, dtype=torch.long)
    at[number[area]] = area.nonzero()
    return at[number]


def coordinates(size: Sequence[int]) -> Tensor:
    """Return row and column of each pixel of an image of this size, ``(H, W, 2)``."""
    rows, columns = (torch.arange(length) for length in size)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)
