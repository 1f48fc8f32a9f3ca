"""What a letter is: strokes of an even width, and a rim that fades into what is behind."""

from typing import NamedTuple

import cv2
import numpy as np

from .planes import Plane
from .shapes import Array, Parts

__all__ = ["APART", "Strokes", "has_strokes", "strokes_of", "with_rims"]

STROKE = 0.6  # the largest deviation of the width of strokes over its mean
APART = 60 / 255  # the least that the color beside a letter differs
RIM = 7  # px round what is surely a letter, where its soft rim may be
AROUND = 6  # px beyond the rim, where the color behind is looked up
FADED = 0.75  # of the distance between the color behind and that of the text, up to which is rim


class Strokes(NamedTuple):
    """The strokes of each part, from the middle to the edge, in pixels.

    Attributes:
        depth: How far each pixel of the image is from the edge of its part, ``(H, W)``.
        mean: The mean depth in the middle of the strokes of each part, ``(N,)``.
        deviation: Its standard deviation, ``(N,)``.
    """

    depth: Array
    mean: Array
    deviation: Array


def strokes_of(found: Parts) -> Strokes:
    """Return how wide the strokes of all parts are."""
    inside = np.pad(found.labels > 0, 1).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_3)
    middle = (depth > 0) & (depth >= cv2.dilate(depth, np.ones((3, 3))) - 1e-3)
    depth, middle = depth[1:-1, 1:-1], middle[1:-1, 1:-1]
    labels, depths, number = found.labels[middle], depth[middle], len(found.boxes)
    count = np.maximum(np.bincount(labels, minlength=number), 1)
    mean = np.bincount(labels, depths, number) / count
    variance = np.bincount(labels, (depths - mean[labels]) ** 2, number) / count
    return Strokes(np.asarray(depth), mean, np.sqrt(variance))


def has_strokes(found: Parts, strokes: Strokes) -> Array:
    """Return which parts consist of strokes of about one width, bool ``(N,)``."""
    largest = found.boxes[:, 2:4].max(1)
    even = strokes.deviation <= STROKE * strokes.mean
    return np.asarray(even & (2 * strokes.mean <= np.maximum(4.0, 0.6 * largest)))


def with_rims(letters: Plane, away: Array) -> Plane:
    """Return letters with their rims, where the color of the text fades into what is behind.

    A lens, a scaler or JPEG make them; a fill would continue their color into the hole.

    Arguments:
        letters: What is surely a letter, ``(H, W)``.
        away: How far the color of each pixel is from that of the text, ``(H, W)``.
    """
    near, far = (_grown(letters, reach) for reach in (RIM, RIM + AROUND))
    beyond = (far & ~near).astype(away.dtype)
    side = 2 * (RIM + AROUND) + 1
    total, count = (cv2.boxFilter(x, -1, (side, side)) for x in (away * beyond, beyond))
    behind = total / np.maximum(count, 1e-6)
    return np.asarray(letters | (near & (behind > APART) & (away < FADED * behind)))


def _grown(letters: Plane, reach: int) -> Plane:
    """Return a mask that is grown by a disc with this radius in pixels."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(letters.astype(np.uint8), disc) > 0)
