"""Lines of letters: parts of one height and color that stand in a row, however few they are."""

from collections.abc import Iterator

import cv2
import numpy as np

from .letters import Strokes, has_strokes, strokes_of, with_rims
from .planes import Plane
from .shapes import Array, Parts, parts

__all__ = ["rows"]

THIN = 0.12  # of black to white; a letter stands out by more
HALF = 0.5  # of the most that stands out near by; less is the rim of a letter, or texture
TALL = (8, 80)  # px; the height of a letter
WIDE = 1.6  # the largest width of a letter over its height
SOLID = (12, 0.12)  # of a letter: the least in px, and the least share of its box
STEP = 0.2  # of black to white, at the edge of a letter
SHARP = 0.8  # the least share of the edge of a letter that is sharp

# Of two neighbors in a line, in heights of the taller one:
HEIGHTS = 0.6  # the least of the shorter one; small letters stand beside capital ones
BASE = 0.1  # the largest step of the baseline
GAP = (-0.15, 0.9)  # from the end of one to the start of the next
COLOR = (0.08, 0.12)  # of black to white: how far luma and chroma are apart; JPEG blurs chroma
STROKES = 0.55  # the least width of the thinner strokes over that of the others

# Of a whole line:
EVEN = 0.22  # the largest deviation of the heights over their mean
LEVEL = 0.035  # of the baseline from a straight line, over the height
SLOPE = 0.06  # of the baseline
WIDTHS = 0.3  # the largest deviation of the width of strokes over its mean
LUMA = 0.03  # the largest deviation of the luma of the letters
ALIKE = 0.2  # how far a color is from that of the text, to count as the same
CLEAR = 0.35  # the largest share between the letters that has their color

LETTERS = (6, 3)  # of a line at least, with a sensitivity of 0 and 1; 4 or 5 for that between


def rows(x: Array, size: int, sensitivity: float) -> Plane:
    """Return where an image ``(H, W, 3)`` in [0, 1] has short lines of letters.

    The color may be common elsewhere in the photo, as it is the line that tells letters.

    Arguments:
        size: The largest width of a stroke in pixels.
        sensitivity: From 0 to 1; a line needs fewer letters with more.
    """
    mask = np.zeros(x.shape[:2], np.bool_)
    least = round(LETTERS[0] + sensitivity * (LETTERS[1] - LETTERS[0]))
    luma = cv2.cvtColor(x, cv2.COLOR_RGB2YCrCb)
    for plane in _planes(x):
        found = parts(_standing_out(plane, size))
        strokes = strokes_of(found)
        numbers = np.flatnonzero(_like_letters(found, plane) & has_strokes(found, strokes))
        if len(numbers) < least:
            continue
        for line in _lines(found, numbers, strokes, luma, least):
            _mark(mask, found, line, strokes, x)
    return mask


def _planes(x: Array) -> Iterator[Array]:
    """Yield planes ``(H, W)`` in [0, 1] on which letters of some color are brighter than all else.

    They are white, black, red and yellow, orange and yellow, blue, and what is brighter in gray.
    """
    red, green, blue = np.moveaxis(x, -1, 0)
    yield x.min(-1)
    yield 1 - x.max(-1)
    yield np.ascontiguousarray(red)
    yield (red - blue + 1) / 2
    yield np.ascontiguousarray(blue)
    yield (red + 2 * green + blue) / 4


def _standing_out(plane: Array, size: int) -> Plane:
    """Return what is thin and about as bright as the brightest thin thing near by."""
    square = np.ones((size, size), np.uint8)
    thin = cv2.morphologyEx(plane, cv2.MORPH_TOPHAT, square)
    peak = cv2.dilate(cv2.blur(thin, (2, 2)), square)
    return np.asarray(thin > np.maximum(THIN, HALF * peak))


def _like_letters(found: Parts, plane: Array) -> Array:
    """Return which parts have the size and the sharp edges of letters, bool ``(N,)``."""
    left, top, width, height, area = found.boxes.T
    good = (height >= TALL[0]) & (height <= TALL[1]) & (width <= WIDE * height)
    good &= (area >= SOLID[0]) & (area >= SOLID[1] * width * height)
    good &= (left > 0) & (top > 0)
    good &= (left + width < plane.shape[1]) & (top + height < plane.shape[0])  # not cut off
    inside = (found.labels > 0).astype(np.uint8)
    edge = (inside > 0) & (cv2.erode(inside, np.ones((3, 3), np.uint8)) == 0)
    step = cv2.morphologyEx(plane, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > STEP
    good &= found.counts(edge & step) >= SHARP * found.counts(edge)
    good[0] = False
    return np.asarray(good)


def _lines(
    found: Parts, numbers: Array, strokes: Strokes, luma: Array, least: int
) -> Iterator[Array]:
    """Yield the numbers of the letters of each line that is straight and even.

    Arguments:
        found: The parts.
        numbers: The parts that look like letters, ``(N,)``.
        strokes: The strokes of all parts.
        luma: Luma and chroma of the image, ``(H, W, 3)``.
        least: The least number of letters.
    """
    colors = np.array([_color(found, int(n), strokes, luma) for n in numbers])
    boxes, widths = found.boxes[numbers].astype(float), strokes.mean[numbers]
    line = _joined(_neighbors(boxes, colors, widths))
    for own in np.flatnonzero(np.bincount(line) >= least):
        chosen = line == own
        if _is_even(boxes[chosen], widths[chosen]) and colors[chosen, 0].std() <= LUMA:
            yield numbers[chosen]


def _neighbors(boxes: Array, colors: Array, strokes: Array) -> Array:
    """Return which letter follows which, bool ``(N, N)``."""
    left, top, width, height, _ = boxes.T
    right, bottom = left + width, top + height
    tall = np.maximum(height[:, None], height)
    gap = left[None, :] - right[:, None]
    away = np.abs(colors[:, None] - colors)
    follows = (gap >= GAP[0] * tall) & (gap <= GAP[1] * tall)
    follows &= np.minimum(height[:, None], height) >= HEIGHTS * tall
    follows &= np.abs(bottom[:, None] - bottom) <= np.maximum(1.5, BASE * tall)
    follows &= (away[..., 0] <= COLOR[0]) & (away[..., 1:].max(-1) <= COLOR[1])
    follows &= np.minimum(strokes[:, None], strokes) >= STROKES * np.maximum(
        strokes[:, None], strokes
    )
    np.fill_diagonal(follows, False)
    return np.asarray(follows)


def _joined(follows: Array) -> Array:
    """Return a number for each letter, the same one for all that follow each other, ``(N,)``."""
    first, second = np.nonzero(follows)
    line = np.arange(len(follows))
    while (line[first] != line[second]).any():
        lowest = np.minimum(line[first], line[second])
        np.minimum.at(line, first, lowest)
        np.minimum.at(line, second, lowest)
    return line


def _is_even(boxes: Array, strokes: Array) -> bool:
    """Return whether letters have like heights and strokes, and one straight baseline."""
    left, top, _, height, _ = boxes.T
    bottom, mean = top + height, height.mean()
    slope, start = np.polyfit(left, bottom, 1)
    level = np.abs(bottom - start - slope * left).mean() <= LEVEL * mean
    even = height.std() <= EVEN * mean and strokes.std() <= WIDTHS * strokes.mean()
    return bool(level and even and abs(slope) <= SLOPE)


def _color(found: Parts, number: int, strokes: Strokes, image: Array) -> Array:
    """Return the color ``(3,)`` of the middle of the strokes of a part."""
    left, top, width, height, _ = found.boxes[number]
    window = slice(top, top + height), slice(left, left + width)
    depth = strokes.depth[window] * (found.labels[window] == number)
    return np.asarray(np.median(image[window][depth >= min(depth.max(), 1.5)], axis=0))


def _mark(mask: Plane, found: Parts, line: Array, strokes: Strokes, x: Array) -> None:
    """Mark the letters of a line, and all between and beside them that has their color."""
    left, top, width, height, _ = found.boxes[line].T
    tall = int(np.median(height))
    window = (
        slice(max(0, top.min() - tall // 2), (top + height).max() + tall // 2),
        slice(max(0, left.min() - 2 * tall), (left + width).max() + 2 * tall),
    )
    letters = np.isin(found.labels[window], line)
    color = np.median([_color(found, int(n), strokes, x) for n in line], axis=0)
    away = np.abs(x[window] - color).max(-1).astype(np.float32)
    box = np.zeros_like(letters)
    above, before = top.min() - window[0].start, left.min() - window[1].start
    box[above : above + np.ptp(top) + tall, before : before + (left + width).max() - left.min()] = 1
    beside = box & ~letters
    if (away[beside] < ALIKE).mean() > CLEAR:
        return
    same = parts((away <= ALIKE) | letters)
    _, _, wide, high, area = same.boxes.T
    more = same.chosen((high <= 1.5 * tall) & (wide <= 2 * tall) & (area >= 3))
    mask[window] |= with_rims(more | letters, away)
