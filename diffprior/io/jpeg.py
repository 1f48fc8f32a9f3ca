"""What a JPEG file says of its own coding."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

from PIL import Image
from PIL.JpegImagePlugin import get_sampling

__all__ = ["Coding", "standard", "read"]

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]


RATIOS: dict[Subsampling, tuple[int, int]] = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How an image is coded.

    Arguments:
        luma, chroma: The quantization tables: 64 steps each, row by row, in 8-bit levels.
        subsampling: Whether chroma has all columns and rows, half the columns, or half of both.
        orientation: How what is coded lies, 1 to 8 as EXIF counts; 1 is upright.
    """

    luma: tuple[int, ...]
    chroma: tuple[int, ...]
    subsampling: Subsampling = "4:2:0"
    orientation: int = 1


def standard(quality: int, subsampling: Subsampling = "4:2:0") -> Coding:
    """Return the coding of libjpeg, and so of most programs, at a quality from 1 to 100."""
    if not (isinstance(quality, int) and 1 <= quality <= 100):
        raise ValueError(f"quality is a whole number from 1 to 100, got {quality}")
    if subsampling not in RATIOS:
        raise ValueError(f"no subsampling {subsampling!r}; there are {', '.join(RATIOS)}")
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    tables: dict[int, list[int]] = getattr(Image.open(file), "quantization")  # noqa: B009
    return Coding(luma=tuple(tables[0]), chroma=tuple(tables[1]), subsampling=subsampling)


def read(image: Any) -> Coding | None:
    """Return the coding of what Pillow opened, None unless it is a JPEG in L or YCbCr."""
    tables = getattr(image, "quantization", None)
    if not tables or image.mode not in ("L", "RGB") or image.info.get("adobe_transform") == 0:
        return None
    sampling = get_sampling(image) if image.mode == "RGB" else 0
    if sampling < 0:
        return None
    orientation = image.getexif().get(0x0112, 1)
    return Coding(
        luma=tuple(tables[0]),
        chroma=tuple(tables[max(tables)]),
        subsampling=list(RATIOS)[sampling],
        orientation=orientation if orientation in range(1, 9) else 1,
    )
