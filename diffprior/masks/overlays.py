"""Text and logos that were laid over a photo: letters of one color with sharp edges."""

from typing import Any

import cv2
import numpy as np

from ..io.arrays import as_images
from ..validation import Share, check
from .letters import APART, has_strokes, strokes_of, with_rims
from .planes import Mask, Plane, finish
from .rows import rows
from .shapes import Array, Parts, found_in, parts, residuals

__all__ = ["text"]

LEVELS = 32  # of each channel, in the count of the colors of thin things
COLORS = 40  # the most frequent ones are tried
THIN = 0.12  # of black to white; a thin thing stands out by more
NEAR = 20 / 255  # the farthest that a color of a letter lies from that of the text
LEAST = 60  # px of a color
AREA = (10, 0.2)  # of a part: the least in px, the largest as a share of the image
HEIGHT = (6, 0.4)  # of a letter: the least in px, the largest as a share of that of the image
RIMS = 3  # times the area of the letters, that they have with their rims at most; petals have more
LETTERS = 3  # of a text at least


def text(image: Any, sensitivity: float = 0.5, *, dilate: int = 2) -> Mask:
    """Return a first mask of text and logos over a photo, to correct by hand.

    The colors of thin things are counted. A frequent one is that of a text if most of its parts
    look like letters: their strokes are of an even width, and their edges are sharp all round.
    A line of at least four letters of like height on one baseline, such as a camera's date, is a
    text however common its color is elsewhere.

    Half-transparent watermarks are not found, and signs in the scene are found, too.

    Images with a short side of more than 1200 pixels are reduced to that, and the mask is enlarged.

    Arguments:
        image: A PIL image, a numpy array or a tensor, as a task takes it.
        sensitivity: From 0, where only what is surely a text is marked, to 1.
        dilate: How far the mask grows, in pixels, over the soft rims of letters.

    Returns:
        True where text is, a bool array ``(H, W)``; for a tensor ``(C, H, W)`` or
        ``(B, C, H, W)`` a bool tensor with one channel. It is all False if nothing was found.

    Raises:
        SettingError: If the sensitivity is not in [0, 1].
        ImageError: If this is no image.
    """
    check("sensitivity", sensitivity, Share)
    found = found_in(as_images(image), lambda x: _letters(x, sensitivity))
    return finish(found, image, dilate)


def _letters(x: Array, sensitivity: float) -> Plane:
    """Return where an image ``(H, W, 3)`` in [0, 1] has letters of one color."""
    size = max(9, min(x.shape[:2]) // 24 | 1)
    mask = rows(x, size, sensitivity)
    thin = np.maximum(*residuals(x, size)) > THIN
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(x, -1, 0)]  # for speed
    for color in _colors(x[thin]):
        away = np.maximum.reduce([np.abs(p - c) for p, c in zip(planes, color, strict=True)])
        found = parts(away <= NEAR)
        good = _like_letters(found, away, sharp=1 - 0.5 * sensitivity)
        counts = found.counts(thin)  # without the sky, and other wide parts of that color
        share = counts[good].sum() / max(counts[1:].sum(), 1)
        if good.sum() >= LETTERS and share >= 1 - sensitivity:
            letters = found.chosen(good)
            whole = with_rims(letters, away)
            mask |= whole if whole.sum() <= RIMS * letters.sum() else letters
    return mask


def _colors(thin: Array) -> list[Array]:
    """Return the most frequent colors ``(3,)`` of pixels ``(N, 3)``."""
    bins = np.minimum(thin * LEVELS, LEVELS - 1).astype(np.int64)
    keys = bins @ np.array([LEVELS**2, LEVELS, 1])
    counts = np.bincount(keys, minlength=LEVELS**3)
    colors: list[Array] = []
    for key in np.argsort(-counts, kind="stable")[:COLORS]:
        if counts[key] < LEAST:
            break
        color = np.median(thin[keys == key], axis=0)
        if all(np.abs(color - other).max() > NEAR for other in colors):
            colors.append(color)
    return colors


def _like_letters(found: Parts, away: Array, sharp: float) -> Array:
    """Return which parts of one color look like letters, bool ``(N,)``.

    Arguments:
        found: The parts.
        away: How far the color of each pixel is from that of the text, ``(H, W)``.
        sharp: The least share of the edge of a letter that is sharp.
    """
    inside = (found.labels > 0).astype(np.uint8)
    edge = (inside > 0) & (cv2.erode(inside, np.ones((3, 3), np.uint8)) == 0)
    step = cv2.dilate(away, np.ones((5, 5), np.uint8)) > APART
    _, _, width, height, area = found.boxes.T
    rows, columns = away.shape
    larger = np.maximum(width, height)
    good = (area >= AREA[0]) & (area <= AREA[1] * away.size)
    good &= (larger >= HEIGHT[0]) & (height <= HEIGHT[1] * rows)
    good &= found.counts(edge & step) >= sharp * found.counts(edge)
    good &= has_strokes(found, strokes_of(found))
    good[0] = False
    return np.asarray(good)
