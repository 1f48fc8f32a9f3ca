"""The canvas of ``diffprior.widget``; this module needs the extra ``notebook``."""

import re
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from ..io.arrays import as_images
from ..io.masks import mask_tensor
from ..io.previews import as_uri, preview

__all__ = ["MaskCanvas"]

HERE = Path(__file__).parent
PAGE = HERE.parent / "server" / "page" / "js" / "mask"
SIDE = 1024  # px; the longest of the image that is shown
PAINT = ("shapes.js", "morphology.js", "raster.js")  # of the page, each after what it uses
HALF = 0.5  # weight from which on a pixel is painted


def _script() -> str:
    """Return the one module that notebooks load: how the page paints, and the canvas."""
    parts = [(PAGE / name).read_text("utf-8") for name in PAINT]
    joined = re.sub(r"^import .*\n|^export (?=\w)", "", "\n".join(parts), flags=re.MULTILINE)
    return joined + HERE.joinpath("canvas.js").read_text("utf-8")


class MaskCanvas(anywidget.AnyWidget):
    """A canvas to paint a mask on an image; see ``diffprior.widget``.

    Arguments:
        image: The image: `Images`, a PIL image, a numpy array or a tensor. Of a batch the first.
        mask: What is painted from the start; None for nothing.
    """

    _esm = _script()
    _css = HERE.joinpath("canvas.css").read_text("utf-8")

    picture = traitlets.Unicode().tag(sync=True)  # the image that is shown, a data: address
    width = traitlets.Int().tag(sync=True)  # of the image itself
    height = traitlets.Int().tag(sync=True)
    steps: traitlets.List[dict[str, Any]] = traitlets.List().tag(
        sync=True
    )  # in pixels of the image
    start = traitlets.CBytes().tag(sync=True)  # the mask that the steps begin with, as `bits`
    bits = traitlets.CBytes().tag(sync=True)  # the mask, row by row, eight pixels a byte

    def __init__(self, image: Any, mask: Any = None) -> None:
        images = as_images(image)
        height, width = images.size
        first = np.zeros((height, width), bool)
        if mask is not None:
            first = mask_tensor(mask, images)[0, 0].numpy() >= HALF
        packed = np.packbits(first).tobytes()
        super().__init__(
            picture=as_uri(preview(images, SIDE)),
            width=width,
            height=height,
            start=packed,
            bits=packed,
        )

    @property
    def mask(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """True where it is painted, a bool array ``(H, W)`` of the size of the image."""
        pixels = self.width * self.height
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=pixels)
        return flat.astype(bool).reshape(self.height, self.width)
