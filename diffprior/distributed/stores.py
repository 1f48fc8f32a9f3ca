"""Where images lie: a folder, or what pyarrow opens by an address, such as ``s3://bucket/photos``.

Names are relative, with ``/`` between folders.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..errors import ExtraError, ImageError, SettingError
from ..io import files
from ..validation import shown

__all__ = ["Folder", "Remote", "Store", "open_store"]


class Store(Protocol):
    """A place of files."""

    def names(self) -> list[str]:
        """Return the names of all files, those of folders in it too, in order."""

    def open(self, name: str) -> Path | BinaryIO:
        """Return a file to read."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, in the place of the one that exists."""


@dataclass(frozen=True)
class Folder:
    """A folder of this machine, or one that all machines share.

    Attributes:
        path: Its path.
    """

    path: Path

    def names(self) -> list[str]:
        """Return the names of all files in it; nothing if there is no such folder."""
        return sorted(self._walk(self.path, ""))

    def _walk(self, folder: Path, head: str) -> Iterator[str]:
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return
        except OSError as error:
            raise ImageError(f"{shown(folder)} cannot be read: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from self._walk(folder / entry.name, f"{head}{entry.name}/")
            else:
                yield f"{head}{entry.name}"

    def open(self, name: str) -> Path:
        """Return the path of a file."""
        return self.path / name

    def write(self, name: str, data: bytes) -> None:
        """Write a file, and make its folder."""
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageError(f"the folder {shown(path.parent)} cannot be made") from error
        files.write(data, path, force=True)


@dataclass(frozen=True)
class Remote:
    """A store of objects, such as S3, by its address. Each process opens it for itself.

    Attributes:
        address: Its address, such as ``s3://bucket/photos``.
    """

    address: str

    def names(self) -> list[str]:
        """Return the names of all objects."""
        system, root = self._system()
        from pyarrow import fs

        found = system.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True))
        head = f"{root}/"
        return sorted(x.path.removeprefix(head) for x in found if x.type == fs.FileType.File)

    def open(self, name: str) -> BinaryIO:
        """Return the bytes of an object."""
        system, root = self._system()
        try:
            with system.open_input_stream(f"{root}/{name}") as stream:
                file = io.BytesIO(stream.read())
        except OSError as error:
            raise ImageError(f"{shown(name)} cannot be read: {shown(error, 150)}") from error
        file.name = name
        return file

    def write(self, name: str, data: bytes) -> None:
        """Write an object, which appears when it is whole."""
        system, root = self._system()
        path = f"{root}/{name}"
        try:
            if system.type_name == "local" or system.type_name == "mock":
                system.create_dir(path.rpartition("/")[0], recursive=True)
            with system.open_output_stream(path) as stream:
                stream.write(data)
        except OSError as error:
            raise ImageError(f"{shown(name)} cannot be written: {shown(error, 150)}") from error

    def _system(self) -> tuple[Any, str]:
        """Return the file system of pyarrow, and the path in it."""
        try:
            from pyarrow import fs
        except ImportError as error:
            raise ExtraError(
                f"{shown(self.address)} needs the extra cluster: pip install 'diffprior[cluster]'"
            ) from error
        try:
            system, root = fs.FileSystem.from_uri(self.address)
        except (ValueError, OSError, NotImplementedError) as error:
            raise SettingError(
                f"{shown(self.address)} cannot be opened: {shown(error, 150)}"
            ) from error
        return system, root.rstrip("/")


def open_store(text: str) -> Store:
    """Return the store of a path or an address."""
    if "://" in text:
        return Remote(text)
    if not text:
        raise SettingError("an empty name is no folder")
    return Folder(Path(text))
