"""Small 8-bit copies of images, and of maps, to be looked at."""

from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from .arrays import Images, as_images, to_pil

__all__ = ["as_uri", "encoded", "heat_map", "preview"]

SPARE = 2  # times the side that is asked for; rows and columns beyond it are left out unread
FEW = 256  # colors
OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"optimize": True},
    "JPEG": {"quality": 90, "subsampling": 0},
}


def preview(image: Any, side: int) -> Image.Image:
    """Return a copy of the first image of a batch, RGB, of at most ``side`` pixels a side.

    It costs little however large the image is: of that, every k-th row and column is read.

    Arguments:
        image: As in ``as_images``.
        side: The longest side of the copy, in pixels.
    """
    images = as_images(image)
    k = max(1, max(images.size) // (SPARE * side))
    alpha = None if images.alpha is None else images.alpha[:1, ::k, ::k]
    sparse = Images(values=images.values[:1, ::k, ::k], alpha=alpha, rebuild=images.rebuild)
    small = to_pil(sparse.tensor()[0])
    small.thumbnail((side, side))
    return small


def encoded(image: Image.Image) -> tuple[bytes, str]:
    """Return the bytes of an RGB image and their media type.

    An image of few colors is stored as PNG, exactly, and any other as JPEG.
    """
    kind = "PNG" if image.getcolors(FEW) else "JPEG"
    file = BytesIO()
    image.save(file, kind, **OPTIONS[kind])
    return file.getvalue(), f"image/{kind.lower()}"


def as_uri(image: Image.Image) -> str:
    """Return an RGB image as a ``data:`` address, which a page shows without any other file."""
    data, media = encoded(image)
    return f"data:{media};base64,{b64encode(data).decode()}"


def heat_map(std: Tensor) -> Image.Image:
    """Return a map of standard deviations as an 8-bit RGB image in the colors of viridis.

    Arguments:
        std: Numbers >= 0 of shape ``(H, W)``; the largest one gets the brightest color.
    """
    import cv2  # takes long to import, and few calls need it

    s = std.detach().cpu().double().numpy()
    gray = np.rint(255 * s / max(s.max(), 1e-12)).astype(np.uint8)
    colors = cv2.applyColorMap(gray, cv2.COLORMAP_VIRIDIS)
    return Image.fromarray(np.ascontiguousarray(colors[..., ::-1]))
