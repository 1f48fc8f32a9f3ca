"""Small pictures of images, for a page that never needs the whole."""

from typing import Any

import cv2
import numpy as np
from torch import Tensor, from_numpy

from ..cli.outputs import heat_map
from ..io import files
from ..io.metadata import Metadata

__all__ = ["SIDE", "encoded", "heat", "of_states", "reduced", "veil"]

SIDE = 2048  # px; the longest side of a preview
LEAST_SIDE = 16  # px
SMALL = 2**18  # pixels; what has no more is shown without loss
STATES = 512  # px; the longest side of a preview of work that goes on
ACCENT = (0xD6, 0x24, 0x6E)  # the color of the page
STRONG = 0.15  # [0, 1]; a deviation that the veil shows in full

Array = np.ndarray[Any, Any]


def reduced(values: Array, side: int = SIDE) -> Array:
    """Return values ``(H, W)`` or ``(H, W, C)`` as uint8, with a longest side of at most ``side``.

    Arguments:
        values: uint8, uint16, or floats in [0, 1].
    """
    side = min(max(side, LEAST_SIDE), SIDE)
    height, width = values.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = (max(1, round(scale * width)), max(1, round(scale * height)))
        small = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
        values = small if small.ndim == values.ndim else small[..., None]
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif values.dtype != np.uint8:
        values = np.rint(255 * values.clip(0, 1)).astype(np.uint8)
    return values


def encoded(
    values: Array, alpha: Array | None, about: Metadata | None = None, side: int = SIDE
) -> tuple[bytes, str]:
    """Return the bytes of a preview and their media type: PNG, or JPEG where it is large.

    Arguments:
        values: The image ``(H, W, C)`` with C = 1 or 3, as of `reduced`.
        alpha: Its opacity ``(H, W)``, None for opaque.
        about: What says how its numbers become colors; the browser needs that, too.
    """
    values = reduced(values, side)
    clear = None if alpha is None else reduced(alpha, side)
    if clear is not None and bool((clear == 255).all()):
        clear = None
    is_png = clear is not None or values.shape[0] * values.shape[1] <= SMALL
    colors = None if about is None else about.colors()
    suffix, kind = (".png", "image/png") if is_png else (".jpg", "image/jpeg")
    return files.encode(values, clear, suffix, colors), kind


def of_states(x: Tensor) -> tuple[bytes, str] | None:
    """Return a preview of the first of the states of a method; None where they are no image.

    The states of a prior of pixels are images in [-1, 1], more or less noisy.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    unit = (x[0].detach().float().cpu().clamp(-1, 1).nan_to_num() + 1) / 2
    return encoded(unit.movedim(0, -1).contiguous().numpy(), None, side=STATES)


def heat(std: Array, side: int = SIDE) -> Array:
    """Return a small map of deviations ``(H, W)`` in color, uint8 ``(h, w, 3)``."""
    scale = min(1.0, side / max(std.shape))
    size = (max(1, round(scale * std.shape[1])), max(1, round(scale * std.shape[0])))
    small = cv2.resize(np.asarray(std, np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(heat_map(from_numpy(small)))


def veil(std: Array, side: int = SIDE) -> bytes:
    """Return a PNG image in the accent color, the more opaque the larger the deviation.

    Arguments:
        std: Standard deviations ``(H, W)`` in [0, 1] units.
    """
    share = reduced((std / STRONG).clip(0, 1).astype(np.float32), side)
    color = np.broadcast_to(np.array(ACCENT, np.uint8), (*share.shape, 3))
    return files.encode(np.ascontiguousarray(color), share, ".png")
