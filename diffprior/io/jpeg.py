"""JPEG files: how they are coded, and what their segments say beside the pixels."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, Literal

from PIL import Image

from ..errors import ImageError
from . import exif
from .metadata import Metadata, attempt

__all__ = [
    "Coding",
    "metadata",
    "pictures",
    "pixels_only",
    "read",
    "segment_of_iptc",
    "standard",
    "why_not",
]

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1"]
Colors = Literal["YCbCr", "RGB"]

# Rows and columns of pixels that share a value of chroma
RATIOS: dict[Subsampling, tuple[int, int]] = {
    "4:4:4": (1, 1),
    "4:2:2": (1, 2),
    "4:2:0": (2, 2),
    "4:4:0": (2, 1),
    "4:1:1": (1, 4),
}

SCAN = 0xDA  # the marker after which the pixels come
ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
NEEDED = (0xE0, 0xEE)  # JFIF and Adobe, which say how the colors are coded
DESCRIBING = (*range(0xE0, 0xF0), 0xFE)
EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
ICC = b"ICC_PROFILE\0"
PHOTOSHOP = b"Photoshop 3.0\0"
IPTC = b"8BIM\x04\x04"  # the resource of Photoshop that holds the IPTC records
INCHES = {1: 1.0, 2: 2.54}  # the unit of a JFIF density, as a factor to pixels per inch


@dataclass(frozen=True, kw_only=True)
class Coding:
    """The coding of a JPEG file.

    Arguments:
        luma, chroma: The quantization tables: 64 steps each, row by row, in 8-bit levels.
        subsampling: Whether chroma has all rows and columns (4:4:4), half the columns (4:2:2), half
            of both (4:2:0), half the rows (4:4:0), or a quarter of the columns (4:1:1).
        orientation: The EXIF orientation of the stored image, from 1 (upright) to 8.
        colors: What is coded: luma and chroma, or red, green and blue as they are. ``luma`` is
            then the table of red, and ``chroma`` that of green and blue.
    """

    luma: tuple[int, ...]
    chroma: tuple[int, ...]
    subsampling: Subsampling = "4:2:0"
    orientation: int = 1
    colors: Colors = "YCbCr"


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


def read(image: Any, turn: int | None = None) -> Coding | None:
    """Return the coding of an image that Pillow opened; None if `why_not` gives a reason.

    Arguments:
        image: The image, as it is stored.
        turn: Its EXIF orientation, if that is known.
    """
    tables = getattr(image, "quantization", None)
    layers = getattr(image, "layer", None)
    if not tables or not layers or why_not(image):
        return None
    used = [tuple(tables[layer[3]]) for layer in layers]
    return Coding(
        luma=used[0],
        chroma=used[-1],
        subsampling=_subsampling(layers) or "4:4:4",
        orientation=exif.of_image(image) if turn is None else turn,
        colors="RGB" if len(layers) == 3 and _is_rgb(image) else "YCbCr",
    )


def why_not(image: Any) -> str | None:
    """Return why the coding of a JPEG file is not one of `Coding`; None if it is, or is no JPEG."""
    layers = getattr(image, "layer", None)
    if not layers:
        return None
    if len(layers) not in (1, 3):
        return "it is a JPEG of four channels (CMYK), and gray or color ones are read"
    if len(layers) == 3 and _subsampling(layers) is None:
        return f"its chroma subsampling is not one of {', '.join(RATIOS)}"
    tables = getattr(image, "quantization", {})
    if any(layer[3] not in tables or len(tables[layer[3]]) != 64 for layer in layers):
        return "it lacks a quantization table"
    if len(layers) == 3 and tables[layers[1][3]] != tables[layers[2][3]]:
        return "its two chroma planes have different quantization tables"
    return None


def _subsampling(layers: Any) -> Subsampling | None:
    """Return the subsampling of a color image from the sampling of its planes."""
    if len(layers) == 1:
        return "4:4:4"
    (_, h, v, _), *chroma = layers
    if any(h % layer[1] or v % layer[2] for layer in chroma) or chroma[0][1:3] != chroma[1][1:3]:
        return None
    ratio = (v // chroma[0][2], h // chroma[0][1])
    return next((name for name, known in RATIOS.items() if known == ratio), None)


def _is_rgb(image: Any) -> bool:
    """Return whether red, green and blue are coded, by the rules of libjpeg."""
    if "jfif" in image.info:
        return False
    if "adobe" in image.info:
        return bool(image.info.get("adobe_transform") == 0)
    return [layer[0] for layer in image.layer] == [*b"RGB"]


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker of each segment before the pixels, and where it begins and ends."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a byte that fills
            at += 1
            continue
        (length,) = (0,) if marker in ALONE else struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if marker == SCAN or end > len(data):
            return
        yield marker, at, end
        at = end


def pixels_only(data: bytes) -> bytes:
    """Return a JPEG file without the segments that its pixels do not need."""
    kept = [data[:2]]
    end = 2
    for marker, at, end in _segments(data):
        if marker not in DESCRIBING or marker in NEEDED:
            kept.append(data[at:end])
    return b"".join([*kept, data[end:]])


def pictures(data: bytes) -> int:
    """Return the number of images of a file, as its index of further ones (MPF) says."""
    for marker, at, end in _segments(data):
        if marker == 0xE2 and data[at + 4 : at + 8] == b"MPF\0":
            try:
                block = exif.Directories(data[at + 8 : end])
            except ImageError:
                return 1
            return block.value(block.first.get(0xB001)) or 1
    return 1


def metadata(data: bytes, notes: list[str]) -> Metadata:
    """Return what the segments say beside the pixels."""
    bodies = [(marker, data[at + 4 : end]) for marker, at, end in _segments(data)]

    def first(marker: int, head: bytes) -> bytes | None:
        found = (b.removeprefix(head) for m, b in bodies if m == marker and b.startswith(head))
        return next(found, None)

    block = first(0xE1, EXIF)
    return Metadata(
        icc=attempt("icc", partial(_profile, [b for m, b in bodies if m == 0xE2]), notes),
        exif=block or None,
        xmp=first(0xE1, XMP) or None,
        iptc=attempt("iptc", partial(_iptc, first(0xED, PHOTOSHOP)), notes),
        dpi=_density(first(0xE0, b"JFIF\0") or b""),
    )


def _profile(bodies: list[bytes]) -> bytes | None:
    """Return the profile whose parts, each with its number and their count, are in segments."""
    parts = sorted(body[len(ICC) :] for body in bodies if body.startswith(ICC))
    if [part[0] for part in parts] != [*range(1, len(parts) + 1)]:
        raise ValueError("parts of the profile are missing")
    return b"".join(part[2:] for part in parts)


def _iptc(body: bytes | None) -> bytes | None:
    start = -1 if body is None else body.find(IPTC)
    if body is None or start < 0:
        return None
    at = start + len(IPTC)
    at += (body[at] + 2) // 2 * 2  # a name, padded to an even length
    (length,) = struct.unpack_from(">I", body, at)
    return body[at + 4 : at + 4 + length]


def segment_of_iptc(records: bytes) -> bytes:
    """Return the segment of a JPEG file that holds IPTC records."""
    body = PHOTOSHOP + IPTC + b"\0\0" + struct.pack(">I", len(records)) + records
    body += b"\0" * (len(records) % 2)
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def _density(body: bytes) -> tuple[float, float] | None:
    if len(body) < 7 or body[2] not in INCHES:
        return None
    x, y = struct.unpack_from(">HH", body, 3)
    return (x * INCHES[body[2]], y * INCHES[body[2]]) if x and y else None
