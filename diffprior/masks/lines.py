"""Scratches and dust: what is thin, stands out from all round it, and belongs to no texture."""

from typing import Any

import cv2
import numpy as np
from skimage.filters import apply_hysteresis_threshold

from ..io.arrays import as_images
from ..validation import Share, check
from .planes import Mask, Plane, finish
from .shapes import Array, Parts, found_in, parts, residuals

__all__ = ["scratches"]

WIDTH = 9  # px; the widest line that is looked for
ANGLES = 16  # that lines are looked for at
LENGTH = 21  # px; over which a line is averaged, so that texture averages out
SIDES = (2, 4)  # px; how far from the middle of a line its two sides are
WINDOW = 41  # px; where the texture is measured
FLOOR = 0.01  # of black to white; the response of a photo without any texture
FAINT = 0.07  # of black to white; the least contrast of a line
PART = 0.45  # of the contrast of a line; its pixels have more
LONG = 32  # px; the least length of a scratch
EVIDENCE = 3  # times the least length and the threshold; longer lines may be weaker
SLIM = 5.0  # the least square of a length over the area
SPOT = 60  # px; the largest area of a spot of dust
SPOT_CONTRAST = 0.12  # of black to white; the least of a spot
ALONE = 5  # px; so far from a spot nothing else stands out


def scratches(image: Any, sensitivity: float = 0.5, *, dilate: int = 1) -> Mask:
    """Return a first mask of scratches and dust, to correct by hand.

    A scratch is a bright or dark line, up to 9 pixels wide, that is longer than 24 pixels and
    stronger than the texture it crosses. Dust is a spot that stands alone. The residual is that of
    a morphological opening; lines are averages of it along 16 directions. Twigs, wires and hair
    have the same shape, and some of them are marked, too.

    Images with a short side of more than 1200 pixels are reduced to that, and the mask is enlarged.

    Arguments:
        image: A PIL image, a numpy array or a tensor, as a task takes it.
        sensitivity: From 0, where only the strongest lines are marked, to 1.
        dilate: How far the mask grows, in pixels.

    Returns:
        True where a scratch is, a bool array ``(H, W)``; for a tensor ``(C, H, W)`` or
        ``(B, C, H, W)`` a bool tensor with one channel. It is all False if nothing was found.

    Raises:
        SettingError: If the sensitivity is not in [0, 1].
        ImageError: If this is no image.
    """
    check("sensitivity", sensitivity, Share)
    threshold = _threshold(sensitivity)
    found = found_in(as_images(image), lambda x: _damage(x, threshold))
    return finish(found, image, dilate)


def _threshold(sensitivity: float) -> float:
    """Return how many times its surroundings a line must stand out: 10 to 2.5."""
    return float(5 * 4 ** (0.5 - sensitivity))


def _damage(x: Array, threshold: float) -> Plane:
    """Return where an image ``(H, W, 3)`` in [0, 1] has scratches and dust."""
    smooth = cv2.GaussianBlur(x, (0, 0), 0.6)
    luma = cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY)
    masks = []
    for residual, ridge in zip(residuals(smooth, WIDTH), _ridges(luma), strict=True):
        masks += [_lines(residual, ridge, threshold), _spots(residual, threshold)]
    return np.asarray(np.any(masks, axis=0))


def _ridges(luma: Array) -> tuple[Array, Array]:
    """Return how much brighter, and how much darker, lines are than both of their sides.

    At each angle the image is averaged along lines. A ridge is the least difference from the two
    sides, so that an edge is none. The result is the largest one of all angles and widths, less
    their median, which texture has at all angles: ``(H, W)`` each.
    """
    bright, dark = [], []
    for angle in np.pi * np.arange(ANGLES) / ANGLES:
        along = cv2.filter2D(luma, -1, _bar(angle), borderType=cv2.BORDER_REFLECT)
        sides = [_sides(along, angle, away) for away in SIDES]
        bright.append(np.max([along - np.maximum(*pair) for pair in sides], axis=0))
        dark.append(np.max([np.minimum(*pair) - along for pair in sides], axis=0))
    return _best(np.stack(bright)), _best(np.stack(dark))


def _best(ridges: Array) -> Array:
    """Return the largest of the ridges ``(N, H, W)`` less their median, and 0 at least."""
    largest = np.maximum(ridges.max(0), 0)
    return np.asarray(np.maximum(largest - np.maximum(np.median(ridges, 0), 0), 0))


def _bar(angle: float) -> Array:
    """Return a filter that averages along a line at an angle, ``(LENGTH, LENGTH)``."""
    reach = LENGTH // 2
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    across = rows * np.cos(angle) - columns * np.sin(angle)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    bar = np.exp(-2 * across**2) * (np.abs(along) <= reach)
    return np.asarray(bar / bar.sum(), np.float32)


def _sides(image: Array, angle: float, away: int) -> tuple[Array, Array]:
    """Return the values beside each pixel, at a distance across an angle, at both sides."""
    down, right = round(away * np.cos(angle)), round(-away * np.sin(angle))
    padded = np.pad(image, away, mode="edge")
    height, width = image.shape
    one, two = (
        padded[away + sign * down :, away + sign * right :][:height, :width] for sign in (1, -1)
    )
    return one, two


def _lines(residual: Array, ridge: Array, threshold: float) -> Plane:
    """Return the long thin things, from the residual and the ridges ``(H, W)``."""
    ratio = np.where(ridge > FAINT, ridge / _texture(ridge, 0.1), 0)
    found = parts(apply_hysteresis_threshold(ratio, 0.5 * threshold, threshold))
    long = found.chosen(_are_long(found, ratio, threshold))
    contrast = cv2.dilate(np.where(long, residual, 0).astype(np.float32), np.ones((7, 7)))
    mask = (residual > PART * contrast) & (cv2.dilate(long.astype(np.uint8), np.ones((5, 5))) > 0)
    return np.asarray(mask)


def _are_long(found: Parts, ratio: Array, threshold: float) -> Plane:
    """Return which parts are long and slim, and the longer, the weaker they may be."""
    _, _, width, height, area = found.boxes.T
    length = np.hypot(width, height)
    mean = np.bincount(found.labels.ravel(), ratio.ravel()) / np.maximum(area, 1)
    sure = length * mean >= EVIDENCE * LONG * threshold
    return np.asarray((length >= LONG) & (length**2 >= SLIM * area) & sure)


def _texture(response: Array, most: float) -> Array:
    """Return how large a response is round each pixel, where a few large ones count little."""
    return np.asarray(FLOOR + cv2.blur(np.minimum(response, most), (WINDOW, WINDOW)))


def _spots(residual: Array, threshold: float) -> Plane:
    """Return the small things in a residual ``(H, W)`` that stand alone."""
    ratio = residual / _texture(residual, 0.15)
    core = apply_hysteresis_threshold(ratio, 0.8 * threshold, 1.6 * threshold)
    found = parts(core)
    _, _, width, height, area = found.boxes.T
    reach = np.ones((2 * ALONE + 1, 2 * ALONE + 1))
    beside = cv2.dilate(np.where(core, 0, residual).astype(np.float32), reach)
    peak, neighbor = found.largest(residual), found.largest(beside)
    is_round = np.maximum(width, height) <= 2.5 * np.minimum(width, height) + 1
    alone = (peak > SPOT_CONTRAST) & (peak > 3 * neighbor)
    return found.chosen((area >= 3) & (area <= SPOT) & is_round & alone)
