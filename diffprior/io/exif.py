"""EXIF: a TIFF file without pixels that says when, where and how a photograph was taken.

It is changed in place, byte for byte, because the notes of camera makers point into it by offsets
that only their makers know.
"""

import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..errors import ImageError

__all__ = [
    "DESCRIPTIVE",
    "has_resolution",
    "of_image",
    "of_resolution",
    "of_tiff",
    "orientation",
    "upright",
]

ORIENTATION = 274
XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])")
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # of types
SHORT, LONG = 3, 4
EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005  # tags that hold the offset of a directory
WIDTHS, HEIGHTS = (256, 0xA002), (257, 0xA003)  # tags of the size, in IFD 0 and in the EXIF IFD
RESOLUTION = {282, 283}
# Tags of the offset and the length of a thumbnail, as JPEG and as TIFF.
THUMBNAILS = ((0x0201, 0x0202), (273, 279))
# Tags of a TIFF file that say something about the photograph, not about how its pixels are stored:
# title, maker, model, resolution, program, date, artist, machine, rating, copyright, and those of
# Windows.
DESCRIPTIVE = (
    270,
    271,
    272,
    282,
    283,
    296,
    305,
    306,
    315,
    316,
    0x4746,
    33432,
    *range(0x9C9B, 0x9CA0),
    EXIF,
    GPS,
)


@dataclass(frozen=True)
class Entry:
    """A field of a directory: where its 12 bytes are, its type and the number of its values."""

    at: int
    kind: int
    count: int


class Directories:
    """The directories of an EXIF block or of a TIFF file; in a bytearray they can be changed.

    Raises:
        ImageError: If the first directory is not inside the block.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        self.order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]), "")
        if not self.order:
            raise ImageError("its EXIF is damaged")
        self.first, self.second = self.entries(self.number(4))

    def number(self, at: int, kind: int = LONG) -> int:
        """Return the SHORT or LONG at an offset."""
        try:
            value: int = struct.unpack_from(
                f"{self.order}{'H' if kind == SHORT else 'I'}", self.data, at
            )[0]
        except struct.error as error:
            raise ImageError("its EXIF is damaged") from error
        return value

    def entries(self, at: int) -> tuple[dict[int, Entry], int]:
        """Return the entries of a directory by tag, and where the offset of the next one is."""
        count = self.number(at, SHORT)
        end = at + 2 + 12 * count
        if end > len(self.data):
            raise ImageError("its EXIF is damaged")
        starts = range(at + 2, end, 12)
        found = {
            self.number(start, SHORT): Entry(
                start, self.number(start + 2, SHORT), self.number(start + 4)
            )
            for start in starts
        }
        return found, end

    def value(self, entry: Entry | None) -> int | None:
        """Return the number of an entry, or None if it holds something else."""
        if entry is None or entry.kind not in (SHORT, LONG) or entry.count != 1:
            return None
        return self.number(entry.at + 8, entry.kind)

    def set(self, entry: Entry | None, value: int, kind: int) -> None:
        """Set the number of an entry, if there is one."""
        if entry is not None:
            code = "HHIHH" if kind == SHORT else "HHII"
            numbers = (value, 0) if kind == SHORT else (value,)
            tag = self.number(entry.at, SHORT)
            self.write(code, entry.at, tag, kind, 1, *numbers)

    def write(self, code: str, at: int, *numbers: int) -> None:
        """Write numbers at an offset, as the codes of struct say."""
        assert isinstance(self.data, bytearray)
        struct.pack_into(f"{self.order}{code}", self.data, at, *numbers)

    def below(self, tag: int) -> dict[int, Entry]:
        """Return the entries of the directory that a tag of the first one points at."""
        at = self.value(self.first.get(tag))
        try:
            return {} if at is None else self.entries(at)[0]
        except ImageError:
            return {}


def orientation(data: bytes | None, xmp: bytes | None = None) -> int:
    """Return the orientation that EXIF says, or XMP where it does not: from 1 (upright) to 8."""
    try:
        block = Directories(data or b"")
        value = block.value(block.first.get(ORIENTATION))
    except ImageError:
        value = None
    if value is None and (found := XMP_ORIENTATION.search(xmp or b"")) is not None:
        value = int(found[2])
    return value if value is not None and 1 <= value <= 8 else 1


def of_image(image: Image.Image) -> int:
    """Return the orientation of an image that Pillow opened, from 1 (upright) to 8."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises anything on damaged EXIF
        return 1
    return value if value in range(1, 9) else 1


def upright(data: bytes, size: tuple[int, int], turn: int = 1) -> bytes:
    """Return an EXIF block for an upright image of a size ``(H, W)``, without the thumbnail.

    The thumbnail would show the image as it was before. All other bytes stay as they are.

    Arguments:
        data: The block.
        size: The size of the upright image.
        turn: The orientation that the image had before it was turned upright.
    """
    changed = bytearray(data)
    block = Directories(changed)
    block.set(block.first.get(ORIENTATION), 1, SHORT)
    for entries in (block.first, block.below(EXIF)):
        for tags, value in ((HEIGHTS, size[0]), (WIDTHS, size[1])):
            for tag in tags:
                block.set(entries.get(tag), value, LONG)
    if turn > 4 and RESOLUTION <= set(block.first):
        across, down = (
            slice(block.first[tag].at + 8, block.first[tag].at + 12) for tag in (282, 283)
        )
        changed[across], changed[down] = changed[down], changed[across]
    for start, end in _cut_thumbnail(block):
        changed[start:end] = bytes(end - start)
    return bytes(changed)


def _cut_thumbnail(block: Directories) -> Iterator[tuple[int, int]]:
    """Leave the second directory out of reach, and yield where the bytes of its image are."""
    if len(block.data) < block.second + 4:
        return
    at = block.number(block.second)
    block.write("I", block.second, 0)
    try:
        entries, _ = block.entries(at) if at else ({}, 0)
    except ImageError:
        return
    for start_tag, length_tag in THUMBNAILS:
        start, length = (block.value(entries.get(t)) for t in (start_tag, length_tag))
        if start and length and 8 < start <= start + length <= len(block.data):
            yield start, start + length


def of_tiff(data: bytes) -> bytes | None:
    """Return what a TIFF file says about its photograph as an EXIF block, or None if nothing."""
    source, made = Image.Exif(), Image.Exif()
    source.load(data)
    for tag in DESCRIPTIVE:
        if tag in source:
            value: Any = source.get_ifd(tag) if tag in (EXIF, GPS) else source[tag]
            made[tag] = value
    return made.tobytes()[6:] if len(made) else None


def has_resolution(data: bytes) -> bool:
    """Return whether an EXIF block says how many pixels an inch has."""
    return RESOLUTION <= set(Directories(data).first)


def of_resolution(dpi: tuple[float, float]) -> bytes:
    """Return an EXIF block that holds a resolution in pixels per inch alone."""
    made = Image.Exif()
    made.update({282: dpi[0], 283: dpi[1], 296: 2})
    return made.tobytes()[6:]
