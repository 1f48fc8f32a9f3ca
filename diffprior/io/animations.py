"""Animations: frames in one file, played forward and backward in a loop."""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .arrays import ImageError

__all__ = ["SUFFIXES", "check_depth", "encode"]

SUFFIXES = (".gif", ".apng")
PAUSE = 100  # ms from frame to frame


def encode(frames: Sequence[np.ndarray], suffix: str, text: Mapping[str, str]) -> bytes:
    """Return the bytes of an animation without alpha.

    All frames of a GIF share 256 colors; an APNG has all colors.

    Arguments:
        frames: The frames in order, each uint8 of shape ``(H, W, 1)`` or ``(H, W, 3)``.
        suffix: One of `SUFFIXES`, in upper or lower case.
        text: Text entries of the file, by name.

    Raises:
        ImageError: If the frames have more than 8 bits.
    """
    check_depth(frames[0].dtype, suffix)
    shown = [Image.fromarray(f[..., 0] if f.shape[-1] == 1 else f) for f in frames]
    settings: dict[str, Any] = {"format": "PNG", "pnginfo": PngInfo()}
    for key, value in text.items():
        settings["pnginfo"].add_text(key, value)
    if suffix.lower() == ".gif":
        settings = {"format": "GIF", "comment": json.dumps(text).encode()}
        shown = _as_rgb(shown) if shown[0].mode == "RGB" else shown
    first, *more = [*shown, *shown[-2:0:-1]]
    file = BytesIO()
    first.save(file, save_all=True, append_images=more, duration=PAUSE, loop=0, **settings)
    return file.getvalue()


def check_depth(dtype: np.dtype[Any], suffix: str) -> None:
    """Check that values have 8 bits."""
    if dtype != np.uint8:
        raise ImageError(f"{dtype} values do not fit into {suffix}; uint8 does")


def _as_rgb(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Return frames with one palette of 256 colors; other colors are dithered."""
    palette = Image.fromarray(np.concatenate([np.asarray(f) for f in frames])).quantize(256)
    return [f.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for f in frames]
