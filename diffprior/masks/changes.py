"""What differs between two files of one photo."""

from typing import Any

import cv2
import numpy as np
from skimage.filters import apply_hysteresis_threshold

from ..errors import ImageError
from ..io.arrays import Images, as_images
from .planes import Mask, Plane, finish

__all__ = ["difference"]

Array = np.ndarray[Any, np.dtype[Any]]
SAME = (
    0.5  # share of pixels; if fewer differ, no file was compressed anew, and each difference counts
)
LEAST = 3 / 255  # a difference that nobody sees
NOISE = 3  # times the median difference, which is that of the files as they are stored
TEXTURE = 0.5  # of its standard deviation: JPEG changes textures more than flat parts
SURE = 2.2  # times the threshold; a change has such a pixel at least
WINDOW = 9  # px; where texture is measured
SPECK = 9  # px; fewer are left out


def difference(image: Any, other: Any, *, dilate: int | None = None) -> Mask:
    """Return the mask of what differs between an image and another file of it.

    Files without loss are compared exactly. If one of them was compressed as JPEG, its errors are
    told from changes: they are small, and larger in textures. The images must lie upon each other;
    nothing is shifted.

    Arguments:
        image, other: Two images of one size: PIL images, numpy arrays or tensors, as a task takes
            them. A gray image and one in color can be compared.
        dilate: How far the mask grows, in pixels; by default 0 for files without loss, else 2.

    Returns:
        True where the images differ, a bool array ``(H, W)``; for a tensor ``(C, H, W)`` or
        ``(B, C, H, W)`` a bool tensor with one channel. It is all False for the same image twice.

    Raises:
        ImageError: If the sizes or the numbers of images differ.
    """
    one, two = as_images(image), as_images(other, "other image")
    if one.size != two.size:
        (h, w), (height, width) = one.size, two.size
        raise ImageError(f"the images differ in size, {w}x{h} and {width}x{height}; give one size")
    if len(one) != len(two):
        raise ImageError(f"there are {len(one)} images and {len(two)} others; give as many")
    found = [_changed(one.select([i]), two.select([i])) for i in range(len(one))]
    exact = all(is_exact for _, is_exact in found)
    grow = (0 if exact else 2) if dilate is None else dilate
    return finish([mask for mask, _ in found], image, grow)


def _changed(one: Images, two: Images) -> tuple[Plane, bool]:
    """Return where two images ``(1, H, W, C)`` differ, and whether they were compared exactly."""
    a, b = _visible(one), _visible(two)
    away = np.abs(a - b).max(-1)
    if (away > LEAST / 10).mean() < SAME:
        return away > LEAST / 10, True  # 16 bits and 8 bits of one image differ by rounding
    texture = np.minimum(_deviation(a), _deviation(b))
    low = LEAST + NOISE * np.median(away) + TEXTURE * texture
    mask = apply_hysteresis_threshold(away, low, SURE * low)
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= SPECK
    large[0] = False  # what did not change
    return np.asarray(large[labels]), False


def _visible(images: Images) -> Array:
    """Return the first image as float32 ``(H, W, 4)`` in [0, 1]: its colors and its opacity."""
    rgb = (images.tensor()[0].numpy() + 1) / 2
    holes = images.holes()
    opacity = np.ones_like(rgb[:1]) if holes is None else 1 - holes[0].numpy()
    return np.ascontiguousarray(np.moveaxis(np.concatenate([rgb * opacity, opacity]), 0, -1))


def _deviation(x: Array) -> Array:
    """Return the standard deviation of the luma ``(H, W)`` round each pixel."""
    y = cv2.cvtColor(np.ascontiguousarray(x[..., :3]), cv2.COLOR_RGB2GRAY)
    window = (WINDOW, WINDOW)
    return np.asarray(np.sqrt(np.maximum(cv2.blur(y * y, window) - cv2.blur(y, window) ** 2, 0)))
