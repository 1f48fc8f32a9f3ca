"""The images of folders and ZIP files, read one by one; what cannot be read is named."""

import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import ImageError, SettingError
from ..io import files
from ..validation import shown

__all__ = ["Entry", "Image", "Skipped", "entries", "pixels_of", "read_images"]

Image = np.ndarray[Any, np.dtype[np.uint8]]
PACKED = 2**28  # bytes of a file
PIXELS = 100_000_000  # of an image
SMALLEST = 4  # pixels of a side: images are also used at a quarter of their size
FLAT = 2**24  # pixels from which an image is suspicious ...
GROWTH = 100  # ... if it has so many times the bytes of its file: photographs have 5 to 50
NAMED = 3  # files that a message names
UNREADABLE = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError)


@dataclass
class Skipped:
    """What was passed over.

    Attributes:
        images: Names of images that cannot be used, each with the reason.
        others: Number of files that are no images.
    """

    images: list[str] = field(default_factory=list)
    others: int = 0

    def __str__(self) -> str:
        parts = []
        if self.images:
            first = "; ".join(self.images[:NAMED])
            more = "; ..." if len(self.images) > NAMED else ""
            parts.append(f"{len(self.images)} images were skipped: {first}{more}")
        if self.others:
            parts.append(f"{self.others} files are no images")
        return "; ".join(parts)


@dataclass(frozen=True)
class Entry:
    """A file of a folder, or of a ZIP file.

    Arguments:
        name: Its name for messages.
        source: Name of its folder.
        size: Its bytes when it is unpacked.
        open: Opens it.
    """

    name: str
    source: str
    size: int
    open: Callable[[], IO[bytes]]

    @property
    def is_image(self) -> bool:
        """Whether it has the name of an image."""
        return Path(self.name).suffix.lower() in files.READABLE


def read_images(paths: Sequence[Path], skipped: Skipped) -> Iterator[tuple[str, Image]]:
    """Yield the name of the folder and the pixels ``(H, W, 3)`` of each image.

    Arguments:
        paths: ZIP files or folders.
        skipped: Receives what is passed over.

    Raises:
        SettingError: If a path is neither a folder nor a ZIP file.
    """
    for path in paths:
        for entry in entries(path):
            try:
                yield entry.source, pixels_of(entry)
            except ImageError as error:
                if entry.is_image:
                    skipped.images.append(f"{shown(entry.name, 60)} ({shown(error, 60)})")
                else:
                    skipped.others += 1


def entries(path: Path) -> Iterator[Entry]:
    """Yield the files of a folder or of a ZIP file; errors are those of ``read_images``."""
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            yield Entry(str(file), file.parent.name, file.stat().st_size, _opener(file))
        return
    try:
        archive = zipfile.ZipFile(path)
    except (*UNREADABLE, ValueError) as error:
        there = path.is_file()
        reason = "it is neither a folder nor a ZIP file" if there else "there is no such file"
        raise SettingError(f"{shown(path)} cannot be read: {reason}") from error
    with archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if not info.is_dir():
                source = Path(info.filename).parent.name
                yield Entry(info.filename, source, info.file_size, _unpacker(archive, info))


def _opener(file: Path) -> Callable[[], IO[bytes]]:
    return lambda: file.open("rb")


def _unpacker(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(info)


def pixels_of(entry: Entry) -> Image:
    """Return the pixels of an image; an ``ImageError`` says why it cannot be used."""
    if entry.size > PACKED:
        raise ImageError(f"it has {entry.size} bytes; at most {PACKED} are read")
    try:
        with entry.open() as file:
            data = file.read(entry.size + 1)  # not more, whatever the file turns out to hold
    except UNREADABLE as error:
        raise ImageError("it cannot be read or unpacked") from error
    most = max(FLAT, min(PIXELS, GROWTH * len(data) // 3))
    values = _decoded(data, most)
    if min(values.shape[:2]) < SMALLEST:
        raise ImageError(f"it has fewer than {SMALLEST} pixels on a side")
    if values.dtype != np.uint8:
        top = 1.0 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
        values = (values / top * 255).round().clip(0, 255)
    return np.ascontiguousarray(np.repeat(values.astype(np.uint8), 3 // values.shape[-1], axis=-1))


def _decoded(data: bytes, most: int) -> np.ndarray[Any, Any]:
    """Return the values ``(H, W, C)`` of an image of at most ``most`` pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the file has beside the image
            values: np.ndarray[Any, Any] = files.read(BytesIO(data), most).images.values[0]
            return values
    except ImageError as error:
        reason = str(error).removeprefix("the stream: ").partition("; --max-pixels")[0]
        raise ImageError(reason) from error
