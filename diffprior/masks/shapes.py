"""Connected parts of a mask, and the thin things in an image: what the finders have in common."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..io.arrays import Images
from .planes import Plane

__all__ = ["Array", "Parts", "found_in", "parts", "residuals"]

Array = np.ndarray[Any, np.dtype[Any]]
SIDE = 1200  # px; of the short side of an image that is worked on, as larger ones add no line


class Parts(NamedTuple):
    """The connected parts of a mask; number 0 is all that is not in it.

    Attributes:
        labels: The number of the part of each pixel, ``(H, W)``.
        boxes: Left, top, width, height and area of each part, ``(N, 5)``, in pixels.
    """

    labels: Array
    boxes: Array

    def chosen(self, keep: Array) -> Plane:
        """Return a mask of the parts that a bool array ``(N,)`` names."""
        keep = keep.copy()
        keep[0] = False
        return np.asarray(keep[self.labels])

    def counts(self, mask: Plane) -> Array:
        """Return how many pixels of a mask each part has, ``(N,)``."""
        return np.bincount(self.labels[mask], minlength=len(self.boxes))

    def largest(self, values: Array) -> Array:
        """Return the largest value of each part, of values ``(H, W)`` from 0 on, ``(N,)``."""
        found = np.zeros(len(self.boxes), values.dtype)
        np.maximum.at(found, self.labels.ravel(), values.ravel())
        return found


def parts(mask: Plane) -> Parts:
    """Return the connected parts of a mask ``(H, W)``; pixels that touch at a corner are joined."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return Parts(np.asarray(labels), np.asarray(boxes))


def found_in(images: Images, find: Callable[[Array], Plane]) -> list[Plane]:
    """Return the mask ``(H, W)`` of each image, which was looked for at a reduced size.

    Arguments:
        find: Takes an image ``(H', W', 3)`` in [0, 1], and returns its mask ``(H', W')``.
    """
    height, width = images.size
    masks = (find(x).astype(np.uint8) for x in _reduced(images))
    return [cv2.resize(m, (width, height), interpolation=cv2.INTER_NEAREST) > 0 for m in masks]


def _reduced(images: Images) -> Iterator[Array]:
    """Yield each image as float32 ``(H', W', 3)`` in [0, 1], at most `SIDE` pixels high or wide."""
    height, width = images.size
    scale = min(1.0, SIDE / min(height, width))
    for i in range(len(images)):
        x = np.moveaxis((images.select([i]).tensor()[0].numpy() + 1) / 2, 0, -1)
        if scale < 1:
            size = max(1, round(scale * width)), max(1, round(scale * height))
            x = cv2.resize(np.ascontiguousarray(x), size, interpolation=cv2.INTER_AREA)
        yield np.ascontiguousarray(x)


def residuals(x: Array, size: int) -> tuple[Array, Array]:
    """Return how much brighter, and how much darker, each pixel is than all wider things round it.

    Arguments:
        x: An image ``(H, W, 3)`` in [0, 1].
        size: The width in pixels of the things that are left.

    Returns:
        The top-hat and the black-hat transform ``(H, W)``, the largest of the channels.
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    bright = cv2.morphologyEx(x, cv2.MORPH_TOPHAT, disc)
    dark = cv2.morphologyEx(x, cv2.MORPH_BLACKHAT, disc)
    return np.asarray(bright.max(-1)), np.asarray(dark.max(-1))
