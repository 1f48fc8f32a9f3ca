"""The part of a copy of a photo that a person painted over in one color."""

from typing import Any

import cv2
import numpy as np
from PIL import ImageColor
from skimage.color import rgb2lab

from ..errors import ImageError, SettingError
from ..io.arrays import Images, as_images
from ..validation import Share, check, literal
from .planes import Mask, Plane, finish

__all__ = ["color", "parse"]

Array = np.ndarray[Any, np.dtype[Any]]
KIND = 0.25  # the farthest that the paint of a program lies from the color of its name
FLAT = 6 / 255  # the largest range of values in 3x3 pixels of paint, after JPEG, too
BIN = 4  # CIELAB units; a paint is one color, but JPEG moves it a little
SPECK = 9  # px; fewer, beside paint that is much larger, are pixels of the photo
LARGE = 100  # times a speck


def color(image: Any, color: str = "red", tolerance: float = 0.1, *, dilate: int = 3) -> Mask:
    """Return the mask of what is painted over in one color.

    A code such as ``"#ff0000"`` is that color. A word is less exact, as each program has its own
    red: of all flat colors near the one that CSS gives that name, the most frequent one is taken.

    Example::

        mask = diffprior.masks.color(painted, "red")
        out = diffprior.inpaint(photo, mask)

    Arguments:
        image: The painted copy: a PIL image, a numpy array or a tensor, as a task takes it.
        color: A name of CSS, such as ``red`` or ``magenta``, a code ``#rgb`` or ``#rrggbb``, or
            ``rgb(255, 0, 0)``.
        tolerance: The largest distance of a color from the paint, in CIELAB (CIE 1976), where 1 is
            the distance of white from black. 0 is the exact color.
        dilate: How far the mask grows, in pixels: the rim of a brush is soft, and JPEG carries the
            paint's color beyond it.

    Returns:
        True where the paint is, a bool array ``(H, W)``; for a tensor ``(C, H, W)`` or
        ``(B, C, H, W)`` a bool tensor with one channel.

    Raises:
        SettingError: If there is no such color, or the tolerance is not in [0, 1].
        ImageError: If an image has no pixel of that color.
    """
    check("tolerance", tolerance, Share)
    wanted = _lab(parse(color))
    is_name = not set("#(") & set(color)
    images = as_images(image)
    masks = [_painted(images.select([i]), wanted, tolerance, is_name) for i in range(len(images))]
    if not all(mask.any() for mask in masks):
        raise ImageError(
            f"the image has no pixel that is {color} within a tolerance of {tolerance:g}; "
            f"{_nearest(images, wanted)}"
        )
    return finish(masks, image, dilate)


def parse(color: str) -> Array:
    """Return a color as float32 ``(3,)``, red, green and blue in [0, 1].

    Raises:
        SettingError: If there is no such color.
    """
    values: tuple[int, ...]
    try:
        values = ImageColor.getrgb(color.strip())
    except (AttributeError, ValueError):
        values = ()
    if len(values) != 3:  # four are a color with an opacity
        raise SettingError(
            f"{literal(color)} is no color; give a name such as red, or a code such as #ff0000"
        )
    return np.array(values, np.float32) / 255


def _painted(images: Images, wanted: Array, tolerance: float, is_name: bool) -> Plane:
    """Return where one image ``(1, H, W, C)`` has the color of the paint."""
    rgb = _rgb(images)
    lab = _lab(rgb)
    paint = _paint(rgb, lab, wanted) if is_name else wanted
    near = _distance(lab, paint) <= max(tolerance, 1e-5)  # as float32 rounds
    return _without_specks(near & ~images.invisible()[0, 0].numpy())


def _rgb(images: Images) -> Array:
    """Return the first image as float32 ``(H, W, 3)`` in [0, 1]."""
    return np.ascontiguousarray(np.moveaxis((images.tensor()[0].numpy() + 1) / 2, 0, -1))


def _lab(rgb: Array) -> Array:
    """Return CIELAB values (D65) of sRGB values ``(..., 3)`` in [0, 1], as float32."""
    return np.asarray(rgb2lab(rgb))


def _distance(lab: Array, color: Array) -> Array:
    """Return how far colors ``(..., 3)`` are from one; 1 is from black to white."""
    return np.asarray(np.linalg.norm(lab - color, axis=-1)) / 100


def _paint(rgb: Array, lab: Array, wanted: Array) -> Array:
    """Return the most frequent flat color near the wanted one; that itself if there is none."""
    square = np.ones((3, 3), np.uint8)
    ranges = cv2.dilate(rgb, square) - cv2.erode(rgb, square)
    flat = lab[(ranges.max(-1) <= FLAT) & (_distance(lab, wanted) <= KIND)]
    if not len(flat):
        return wanted
    bins, places, counts = np.unique(
        np.rint(flat / BIN), axis=0, return_inverse=True, return_counts=True
    )
    center = BIN * bins[counts.argmax()]
    around = flat[(np.abs(flat - center) <= BIN).all(-1)]  # a paint may lie where two bins meet
    return np.asarray(np.median(around, axis=0))


def _without_specks(mask: Plane) -> Plane:
    """Return a mask without the few pixels that stand alone, if the paint is much larger."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # what is not painted
    if areas.max() < LARGE * SPECK:
        return mask
    return np.asarray((areas >= SPECK)[labels])


def _nearest(images: Images, wanted: Array) -> str:
    """Return advice: the color of the images that is nearest to the wanted one."""
    best, shown = np.inf, ""
    for i in range(len(images)):
        rgb = _rgb(images.select([i]))
        away = _distance(_lab(rgb), wanted)
        at = np.unravel_index(away.argmin(), away.shape)
        if away[at] < best:
            best = float(away[at])
            shown = "#" + "".join(f"{round(255 * float(v)):02x}" for v in rgb[at])
    return f"the nearest one is {shown}, at {best:.2f}; give that color, or a larger tolerance"
