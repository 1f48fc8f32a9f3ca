"""Random masks with a seed: lost pixels, boxes, scratches, text, brush strokes, blobs."""

import cv2
import numpy as np
import torch
from torch import Tensor, from_numpy

from ...catalog import SettingError

__all__ = ["KINDS", "blob", "box", "draw", "pixels", "scratches", "strokes", "text"]

Array = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
WORDS = "the quick brown fox jumps over the lazy dog 0123456789".split()


def pixels(height: int, width: int, seed: int, share: float = 0.5) -> Tensor:
    """Return a mask that loses each pixel with probability ``share``.

    All masks of this module are bool, of shape ``(1, H, W)``, True where the image is lost.
    """
    rng = np.random.default_rng([seed, 0])
    return from_numpy(rng.random((height, width)) < share)[None]


def box(height: int, width: int, seed: int, share: float = 0.25) -> Tensor:
    """Return a mask that loses one rectangle, with the aspect of the image and ``share`` of its
    area."""
    rng = np.random.default_rng([seed, 1])
    scale = share**0.5
    h, w = round(scale * height), round(scale * width)
    i, j = rng.integers(height - h + 1), rng.integers(width - w + 1)
    mask = np.zeros((height, width), np.bool_)
    mask[i : i + h, j : j + w] = True
    return from_numpy(mask)[None]


def scratches(height: int, width: int, seed: int, share: float = 0.1) -> Tensor:
    """Return a mask of long curved lines, 3 to 5 pixels wide, over about ``share`` of the image."""
    rng = np.random.default_rng([seed, 2])
    mask = np.zeros((height, width), np.uint8)
    while mask.mean() < share:
        angle = rng.uniform(0, np.pi)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        points = [(x, y)]
        for _ in range(8):
            angle += rng.normal(0, 0.15)
            x, y = x + 0.12 * width * np.cos(angle), y + 0.12 * height * np.sin(angle)
            points.append((x, y))
        _line(mask, points, int(rng.integers(3, 6)))
    return from_numpy(mask > 0)[None]


def text(height: int, width: int, seed: int) -> Tensor:
    """Return a mask of lines of text over the whole image, about an eighth of its area."""
    rng = np.random.default_rng([seed, 3])
    mask = np.zeros((height, width), np.uint8)
    scale = max(0.4, height / 400)
    for y in range(round(30 * scale), height, round(34 * scale)):
        line = " ".join(rng.choice(WORDS, 30))
        at = (int(rng.integers(-40, 0)), y)
        cv2.putText(mask, line, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (1,), max(1, round(2 * scale)))
    return from_numpy(mask > 0)[None]


def strokes(height: int, width: int, seed: int, share: float = 0.2) -> Tensor:
    """Return a mask of thick free-form brush strokes over about ``share`` of the image."""
    rng = np.random.default_rng([seed, 4])
    mask = np.zeros((height, width), np.uint8)
    side = min(height, width)
    while mask.mean() < share:
        angle = rng.uniform(0, 2 * np.pi)
        x = rng.uniform(0, width)
        y = rng.uniform(0, height)
        points = [(x, y)]
        for _ in range(int(rng.integers(3, 7))):
            angle += rng.uniform(-1, 1)
            length = rng.uniform(0.05, 0.15) * side
            x, y = x + length * np.cos(angle), y + length * np.sin(angle)
            points.append((x, y))
        _line(mask, points, int(rng.uniform(0.03, 0.08) * side))
    return from_numpy(mask > 0)[None]


def blob(height: int, width: int, seed: int, low: float = 0.18, high: float = 0.34) -> Tensor:
    """Return a mask of one wide hole with a wavy outline, near the middle of the image.

    Arguments:
        low, high: Range of its mean diameter, in units of the short side.
    """
    rng = np.random.default_rng([seed, 7])
    radius = rng.uniform(low, high) * min(height, width) / 2
    y, x = rng.uniform(0.35, 0.65, 2) * (height, width)
    rows, columns = np.ogrid[:height, :width]
    angle = np.arctan2(rows - y, columns - x)
    waves = [
        rng.normal(0, 0.18 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 6)
    ]
    return from_numpy(np.hypot(rows - y, columns - x) < radius * (1 + sum(waves)))[None]


KINDS = ("pixels50", "pixels80", "scratches", "text", "strokes", "blob")


def draw(kind: str, height: int, width: int, seed: int) -> Tensor:
    """Return the mask of one of ``KINDS``: bool, of shape ``(1, H, W)``, True = lost."""
    if kind.startswith("pixels"):
        return pixels(height, width, seed, int(kind.removeprefix("pixels")) / 100)
    makers = {"scratches": scratches, "text": text, "strokes": strokes, "blob": blob}
    return makers[kind](height, width, seed)


def _line(mask: Array, points: list[tuple[float, float]], thickness: int) -> None:
    curve = np.round(points).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(mask, [curve], False, (1,), max(1, thickness))


def inner_box(height: int, width: int, seed: int, side: float = 0.5, margin: float = 0.0) -> Tensor:
    """Return a mask that loses one box at a uniform position inside a margin.

    Arguments:
        side, margin: Fractions of the sides of the image: 0.5 and 0.0625 are 128 and 16 of 256.
    """
    rng = np.random.default_rng([seed, 5])
    keep = np.ones((height, width), np.bool_)
    h, w, a, b = (round(s * n) for s in (side, margin) for n in (height, width))
    if h + 2 * a > height or w + 2 * b > width:
        raise SettingError(f"a box of {side} and margins of {margin} do not fit into the image")
    i, j = a + rng.integers(height - h - 2 * a + 1), b + rng.integers(width - w - 2 * b + 1)
    keep[i : i + h, j : j + w] = False
    return torch.from_numpy(keep)[None]
