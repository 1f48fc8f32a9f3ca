"""Text files of settings and rows, read whole, with a limit; a file that two runs must not share.

What a file holds is checked by ``validation.from_file``.
"""

import json
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..validation import shown
from . import files

__all__ = [
    "LARGEST",
    "inside",
    "locked",
    "make_folder",
    "read_bytes",
    "read_json",
    "read_text",
    "read_toml",
    "regular",
    "write",
]

LARGEST = 2**30  # bytes of a file of rows or numbers
SETTINGS = 2**20  # bytes of a file of settings


def regular(path: Path, most: int = LARGEST) -> Path:
    """Return a path after a check that it is a regular file of at most ``most`` bytes.

    Raises:
        SettingError: If it is not, or if there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise SettingError(f"{shown(path)} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a null character
        raise SettingError(f"{shown(path)} is no name of a file") from error
    if not stat.S_ISREG(status.st_mode):
        raise SettingError(f"{shown(path)} is not a file")
    if status.st_size > most:
        raise SettingError(
            f"{shown(path)} has {status.st_size} bytes; at most {most} of such a file are read"
        )
    return path


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """Return the bytes of a regular file; errors as above, and if it cannot be read."""
    try:
        return regular(path, most).read_bytes()
    except OSError as error:
        raise SettingError(f"{shown(path)} cannot be read: {error.strerror or error}") from error


def read_text(path: Path, most: int = LARGEST) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark; errors as above."""
    data = read_bytes(path, most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingError(f"{shown(path)}, line {line}: it is not text in UTF-8") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Return the settings of a TOML file; a ``SettingError`` says where it is not TOML."""
    text = read_text(path, SETTINGS)
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise SettingError(f"{shown(path)} is no TOML: it is nested too deeply") from error
    except ValueError as error:  # also an integer of too many digits
        raise SettingError(f"{shown(path)} is no TOML: {shown(error, 120)}") from error


def read_json(text: str, where: str) -> Any:
    """Return what a JSON text holds; a ``SettingError`` says where it is not JSON.

    Arguments:
        where: The file and the place in it, for messages.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise SettingError(f"{where} is no JSON: it is nested too deeply") from error
    except ValueError as error:
        raise SettingError(f"{where} is no JSON: {shown(error, 100)}") from error


def write(data: bytes, path: Path) -> None:
    """Write a file whole or not at all, in the place of the one that exists."""
    make_folder(path.parent)
    files.write(data, path, force=True)


def make_folder(folder: Path) -> None:
    """Create a folder, with those above it; a ``SettingError`` says why it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise SettingError(f"cannot write to the folder {shown(folder)}: {reason}") from error


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder, by a name that comes from outside.

    Raises:
        SettingError: If the name leads out of the folder, by itself or through a link.
    """
    path = folder / name
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a loop of links, a null character
        is_inside = False
    if not is_inside or Path(name).is_absolute() or ".." in Path(name).parts:
        raise SettingError(f"{shown(name)} leads out of the folder {shown(folder)}")
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a run; the end of the process releases it, however it ends.

    Arguments:
        path: The file of the lock. It stays behind, empty, and locks nothing by itself.

    Raises:
        SettingError: If another process holds the lock, or the file cannot be written.
    """
    from filelock import FileLock, Timeout

    make_folder(path.parent)
    lock = FileLock(inside(path.parent, path.name), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise SettingError(
            f"another run is writing to {shown(path.parent)}; wait for it, or choose another folder"
        ) from error
    except NotImplementedError:  # a file system without locks
        yield
        return
    except OSError as error:
        reason = error.strerror or error
        raise SettingError(f"cannot write to the folder {shown(path.parent)}: {reason}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.release()
