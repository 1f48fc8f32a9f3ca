"""The bytes of a file or a stream; kinds and sizes that are no image are refused before that."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ..errors import ImageError
from ..validation import shown

__all__ = ["describe", "fetch"]

HEAD = 4096  # bytes that show what a file is
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe; give - and pipe the image in",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def describe(source: Path | BinaryIO) -> str:
    """Return the name of a path or a stream for messages."""
    name = source if isinstance(source, Path) else getattr(source, "name", "the stream")
    return shown(name)


def fetch(source: Path | BinaryIO, most: int) -> bytes:
    """Return the bytes of a file or a stream.

    Arguments:
        source: A path, or a binary stream that is read to its end.
        most: The largest number of bytes that is read.

    Raises:
        ImageError: If there is no file, it cannot be read, is empty, or has more bytes. Messages
            begin with "it".
    """
    try:
        data = _of_path(source, most) if isinstance(source, Path) else _of_stream(source, most)
    except (OSError, ValueError) as error:  # ValueError: a closed stream, or a name with a null
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"it cannot be read: {getattr(error, 'strerror', 0) or error}") from error
    except MemoryError as error:
        raise ImageError("it is too large for the memory of this machine") from error
    if not data:
        raise ImageError("it is empty")
    return data


def _of_path(path: Path, most: int) -> bytes:
    # Without O_NONBLOCK a named pipe would wait for a writer before its kind can be asked for.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        about = os.fstat(number)
        kind = stat.S_IFMT(about.st_mode)
        if kind != stat.S_IFREG:
            raise ImageError(f"it is {KINDS.get(kind, 'no file')}")
        if about.st_size > most:
            raise _too_long(str(about.st_size), most)
        with open(number, "rb", closefd=False) as file:
            return _of_stream(file, most)
    finally:
        os.close(number)


def _of_stream(stream: BinaryIO, most: int) -> bytes:
    head = stream.read(HEAD)
    if len(head) == HEAD and not any(head):
        raise ImageError("it begins with zeros, as no image does")
    data = head + stream.read(most + 1 - len(head))
    if len(data) > most:
        raise _too_long("more", most)
    return data


def _too_long(length: str, most: int) -> ImageError:
    return ImageError(
        f"it has {length} bytes, and at most {most} are read; --max-pixels allows more"
    )
