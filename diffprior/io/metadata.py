"""What a file says about its image beside the pixels, and what each format can hold of it."""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from . import exif

__all__ = ["COLOR", "NOTHING", "Metadata", "attempt", "fitting", "settled"]

Chunks = tuple[tuple[bytes, bytes], ...]

HELD = {  # by each format
    "PNG": ("icc", "exif", "xmp", "dpi", "color", "text"),
    "JPEG": ("icc", "exif", "xmp", "iptc", "dpi"),
    "TIFF": ("icc", "exif", "xmp", "iptc", "dpi"),
    "WEBP": ("icc", "exif", "xmp"),
    "AVIF": ("icc", "exif", "xmp"),
    "BMP": ("dpi",),
}
WORDS = {
    "icc": "the color profile",
    "exif": "the EXIF (date, place, camera)",
    "xmp": "the XMP",
    "iptc": "the IPTC",
    "dpi": "the resolution",
    "color": "the color space (gAMA, cHRM, cICP)",
    "text": "the PNG texts",
}
SEGMENT = 65_000  # bytes that a segment of a JPEG file holds, and a little less
# Chunks of a PNG file that say what its numbers mean; with these values they say "sRGB".
COLOR = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"mDCv", b"cLLi")
PLAIN = {
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    b"cICP": bytes((1, 13, 0, 1)),
}
THUMBNAILS = re.compile(rb"<xmp:Thumbnails>.*?</xmp:Thumbnails>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a file says about its image beside the pixels.

    Attributes:
        icc: The ICC profile of its colors.
        exif: The EXIF block, which begins with II or MM.
        xmp: The XMP packet.
        iptc: The IPTC records.
        dpi: The resolution in pixels per inch, across and down.
        color: The chunks of a PNG file that say what its numbers mean, such as gAMA and cICP.
        text: The text chunks of a PNG file.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    color: Chunks = ()
    text: Chunks = ()

    def colors(self) -> "Metadata":
        """Return only what says how the numbers become colors."""
        return Metadata(icc=self.icc, color=self.color)


NOTHING = Metadata()


def attempt(what: str, parse: Callable[[], "bytes | None"], notes: list[str]) -> bytes | None:
    """Return a part of the metadata; a damaged one is dropped, which is noted."""
    try:
        return parse() or None
    except Exception:  # parsers raise anything on damaged data
        notes.append(f"{WORDS[what]} is damaged and is dropped")
        return None


def settled(about: Metadata, turn: int) -> Metadata:
    """Return the metadata of an image that was turned upright, but for its EXIF.

    The orientation in XMP becomes 1, and its thumbnails, which show the image as it was, go.

    Arguments:
        about: The metadata of the file.
        turn: The orientation that the file said.
    """
    dpi = about.dpi[::-1] if about.dpi and turn > 4 else about.dpi
    return replace(about, xmp=about.xmp and _settled_xmp(about.xmp), dpi=dpi)


def _settled_xmp(packet: bytes) -> bytes:
    return THUMBNAILS.sub(b"", exif.XMP_ORIENTATION.sub(rb"\g<1>1", packet))


def fitting(about: Metadata, kind: str, channels: int) -> tuple[Metadata, Sequence[str]]:
    """Return what a format can hold of the metadata, and the words for what is lost.

    Arguments:
        about: The metadata.
        kind: The name of the format, such as "PNG".
        channels: 1 for a gray image, 3 for a color image.
    """
    if about.icc is not None and about.icc[16:20] not in _spaces(channels):
        about = replace(about, icc=None)
    if kind in ("WEBP", "AVIF") and about.exif is None and about.dpi is not None:
        about = replace(about, exif=exif.of_resolution(about.dpi), dpi=None)
    if kind in ("WEBP", "AVIF") and about.exif is not None and exif.has_resolution(about.exif):
        about = replace(about, dpi=None)
    lost = [name for name in WORDS if getattr(about, name) and not _fits(about, name, kind)]
    kept = replace(about, **{name: getattr(NOTHING, name) for name in lost})
    return kept, [WORDS[name] for name in lost if name != "color" or not _is_srgb(about.color)]


def _spaces(channels: int) -> Sequence[bytes]:
    """Return the color spaces of profiles that an image may have."""
    return (b"RGB ", b"GRAY") if channels == 1 else (b"RGB ",)


def _fits(about: Metadata, name: str, kind: str) -> bool:
    if name not in HELD[kind]:
        return False
    return kind != "JPEG" or name in ("icc", "dpi") or len(getattr(about, name)) <= SEGMENT


def _is_srgb(chunks: Chunks) -> bool:
    """Return whether the numbers of a PNG file are those of sRGB, which is taken for granted."""
    names = [name for name, _ in chunks]
    if b"cICP" not in names and b"sRGB" in names:
        return True
    return all(data == PLAIN[name] for name, data in chunks if name in PLAIN)
