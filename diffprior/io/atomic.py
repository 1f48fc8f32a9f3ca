"""Files that are written whole or not at all, whatever ends the process in between."""

import ctypes
import errno
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["Data", "place"]

PART = re.compile(r"\.[0-9a-f]{16}\.part")
AT_FDCWD = -100  # "relative to the working folder", in Linux's fcntl.h
RENAME_NOREPLACE = 1  # from linux/fs.h
Data = bytes | Callable[[], Iterator[bytes]]
swept: set[Path] = set()  # folders of which this process has cleared the parts


def place(data: Data, path: Path, force: bool = False) -> None:
    """Write a file whole or not at all.

    Where the file system can, the data has no name before it is whole, so that a process that is
    killed leaves nothing. Elsewhere it has the name ``.0123456789abcdef.part`` until then; parts of
    processes that are gone are removed by the next process that writes to the folder.

    Arguments:
        data: The bytes of the file, or a function that yields them piece by piece.
        path: Where to write it.
        force: Whether an existing file is replaced.

    Raises:
        FileExistsError: If the file exists, without force.
        OSError: If it cannot be written.
    """
    sweep(path.parent)
    if not _place_nameless(data, path, force):
        with _part(path.parent) as (part, file):
            _fill(file, data)
            if os.name == "nt":
                file.close()  # Windows moves no file that is open
            _claim(part, path, force)


def sweep(folder: Path) -> None:
    """Remove the parts that processes left which are gone, once for each folder and process."""
    key = folder.absolute()
    if key in swept:
        return
    swept.add(key)
    with suppress(OSError):
        for part in [p for p in folder.iterdir() if PART.fullmatch(p.name)]:
            with suppress(OSError), part.open("rb") as file:
                if _lock(file, wait=False):
                    part.unlink()


def _place_nameless(data: Data, path: Path, force: bool) -> bool:
    """Write a file that has no name before it is whole; return whether the file system can."""
    try:
        number = os.open(path.parent, getattr(os, "O_TMPFILE") | os.O_WRONLY, 0o666)  # noqa: B009
    except (AttributeError, OSError):
        return False
    with open(number, "wb") as file:
        _fill(file, data)
        try:
            _name(file, path)
        except FileExistsError:
            if not force:
                raise
        except OSError:
            return False
        else:
            return True
        part = _free(path.parent)  # a name for the moment between two calls
        _lock(file, wait=True)
        try:
            _name(file, part)
            os.replace(part, path)
        finally:
            with suppress(OSError):
                part.unlink()
    return True


def _fill(file: BinaryIO, data: Data) -> None:
    for piece in data() if callable(data) else [data]:
        file.write(piece)
    file.flush()
    os.fsync(file.fileno())


def _name(file: BinaryIO, path: Path) -> None:
    """Give a file without a name its name, which must be free."""
    source = f"/proc/self/fd/{file.fileno()}"
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.link(source, path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _free(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(8)}.part"


@contextmanager
def _part(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a part that is locked as long as this process lives, and remove what is left of it."""
    while True:
        part = _free(folder)
        with part.open("xb") as file:
            try:
                _lock(file, wait=True)
                if part.exists():  # else another process swept it before it was locked
                    yield part, file
                    return
            finally:
                with suppress(OSError):
                    part.unlink()


def _lock(file: BinaryIO, wait: bool) -> bool:
    """Lock a file, and return whether it was free; without locks no file is."""
    try:
        import fcntl
    except ImportError:  # no such module on Windows
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _claim(part: Path, path: Path, force: bool) -> None:
    """Move a part to its path in one step; without force the path must be free."""
    if force:
        os.replace(part, path)
        return
    if _rename_to_free(part, path):
        return
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # neither hard links nor a move to a free name
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(part, path)


def _rename_to_free(part: Path, path: Path) -> bool:
    """Move a file to a name that must be free; return whether the system and its disk can."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    names = (os.fsencode(part), os.fsencode(path))
    if rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        raise FileExistsError(number, os.strerror(number), str(path))
    return False
