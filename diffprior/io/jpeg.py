"""How a JPEG file is coded: its quantization tables, subsampling and orientation."""

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
    """The coding of a JPEG file.

    Arguments:
        luma, chroma: The quantization tables: 64 steps each, row by row, in 8-bit levels.
        subsampling: Whether chroma has all rows and columns (4:4:4), half the columns (4:2:2), or
            half of both (4:2:0).
        orientation: The EXIF orientation of the stored image, from 1 (upright) to 8.
    """

    luma: tuple[int, ...]
    chroma: tuple[int, ...]
    subsampling: Subsampling = "4:2:0"
    orientation: int = 1


def standard(quality: int, subsampling: Subsampling = "4:2:0") -> Coding:
    """Return the coding of libjpeg, which most programs use, at a quality from 1 to 100."""
    if not (isinstance(quality, int) and 1 <= quality <= 100):
        raise ValueError(f"quality is a whole number from 1 to 100, got {quality}")
    if subsampling not in RATIOS:
        raise ValueError(f"no subsampling {subsampling!r}; there are {', '.join(RATIOS)}")
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    tables: dict[int, list[int]] = getattr(Image.open(file), "quantization")  # noqa: B009
    return Coding(luma=tuple(tables[0]), chroma=tuple(tables[1]), subsampling=subsampling)


def read(image: Any) -> Coding | None:
    """Return the coding of an image that Pillow opened; None if it is no JPEG in L or YCbCr."""
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
