"""Moving images: frames in one file, played to and fro without an end."""

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
    """Return the bytes of a film: of 256 colors in all as GIF, of all their colors as APNG.

    Neither is given an alpha.

    Arguments:
        frames: In their order, each ``(H, W, 1)`` or ``(H, W, 3)`` of uint8.
        suffix: One of `SUFFIXES`, in any case.
        text: What the file is to say about itself.

    Raises:
        ImageError: If the frames are deeper than 8 bits.
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
    """Refuse values that are deeper than 8 bits."""
    if dtype != np.uint8:
        raise ImageError(f"{dtype} values do not fit into {suffix}; uint8 does")


def _as_rgb(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Return frames that share the 256 colors that suit them best, and mix the others of them."""
    palette = Image.fromarray(np.concatenate([np.asarray(f) for f in frames])).quantize(256)
    return [f.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for f in frames]
