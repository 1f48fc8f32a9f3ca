"""The files of a server: what was sent, kept under names of its own until the server ends.

No name that comes from outside is ever a path: an image is found by its id in a table, and lies in
a file that is named by the server.
"""

import io
import secrets
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ..errors import ImageError
from ..io import files
from ..validation import shown
from . import previews
from .limits import Limits, Refusal, known
from .notes import DECODING, collected

__all__ = ["Image", "Store", "Upload", "reading"]

LONGEST = 200  # characters of a name
DEPTHS: dict[str, int | str] = {"uint8": 8, "uint16": 16}
TOLD = (".npy", ".safetensors")  # suffixes by which the library tells what a file is
TOO_LARGE = "--max-pixels sets another"  # of the library's sentence about the limit


@dataclass(eq=False)
class Upload:
    """A file that was sent.

    Attributes:
        id: Its id.
        name: The name that it had, without its folder; for messages and for names of results.
        path: Where it lies.
        bytes: Its length.
        users: How many jobs, and lists, need it.
    """

    id: str
    name: str
    path: Path
    bytes: int
    users: int = 0

    def open(self) -> BinaryIO:
        """Return the file as a stream that goes by the name that it had."""
        raw = io.FileIO(self.path)
        raw.name = self.name
        return cast(BinaryIO, io.BufferedReader(raw))


@dataclass(eq=False, kw_only=True)
class Image(Upload):
    """An image that was sent, upright as the tasks see it.

    Attributes:
        width, height: Its size in pixels.
        depth: Bits of a channel, 8 or 16, or "float".
        channels: 1 for gray, 3 for color.
        alpha: Whether it has transparency.
        notes: What was left out of the file.
    """

    width: int
    height: int
    depth: int | str
    channels: int
    alpha: bool
    notes: list[str]


class Store:
    """The files of one server, in one folder.

    Arguments:
        folder: The folder, which belongs to the store.
        limits: The limits of the server.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.limits = limits
        self._images: dict[str, Image] = {}  # those that are listed, in order
        self._lock = threading.Lock()

    def receive(self, stream: BinaryIO, name: str) -> Upload:
        """Return a file that was sent, written to the folder as it is."""
        key = secrets.token_hex(8)
        suffix = Path(name).suffix.lower()
        path = self.folder / f"{key}{suffix if suffix in TOLD else '.file'}"
        with path.open("xb") as file:
            shutil.copyfileobj(stream, file, 2**20)
        return Upload(id=key, name=plain_name(name), path=path, bytes=path.stat().st_size)

    def read(self, stream: BinaryIO, name: str, *, shown: bool = False) -> Image:
        """Return an image that was sent, which nobody needs yet.

        Arguments:
            shown: Whether it will have a preview.

        Raises:
            Refusal: If it is no image, or too large.
        """
        upload = self.receive(stream, name)
        try:
            with reading(), collected() as notes, upload.open() as opened:
                file = files.read(opened, self.limits.pixels)
            image = _described(upload, file, notes)
            if shown:
                self._show(image, file)
        except BaseException:
            upload.path.unlink(missing_ok=True)
            raise
        return image

    def add(self, image: Image) -> Image:
        """Put an image on the list, and forget the oldest ones that are too many."""
        with self._lock:
            image.users += 1
            self._images[image.id] = image
            listed = list(self._images.values())
            total = sum(each.bytes for each in listed)
            count = len(listed)
            for old in listed[:-1]:
                if count <= self.limits.images and total <= self.limits.disk:
                    break
                count -= 1
                total -= old.bytes
                self._drop(self._images.pop(old.id))
        return image

    def get(self, key: str) -> Image:
        """Return an image of the list; errors as of `known`."""
        return known(self._images, key, "image")

    def list(self) -> list[Image]:
        """Return the images of the list, in order."""
        return list(self._images.values())

    def forget(self, key: str) -> None:
        """Take an image from the list; errors as of `get`."""
        self.get(key)
        with self._lock:
            image = self._images.pop(key, None)
            if image is not None:
                self._drop(image)

    def keep(self, upload: Upload) -> None:
        """Keep a file for a job, whatever becomes of the list."""
        with self._lock:
            upload.users += 1

    def release(self, upload: Upload) -> None:
        """Let a file go that a job no longer needs."""
        with self._lock:
            self._drop(upload)

    def _drop(self, upload: Upload) -> None:
        upload.users -= 1
        if upload.users <= 0:
            upload.path.unlink(missing_ok=True)
            self._preview(upload).unlink(missing_ok=True)

    def _show(self, image: Image, file: files.File) -> None:
        """Write the preview of an image."""
        alpha = file.images.alpha
        clear = None if alpha is None else alpha[0]
        data, _ = previews.encoded(file.images.values[0], clear, file.metadata)
        self._preview(image).write_bytes(data)

    def discard(self, upload: Upload) -> None:
        """Remove a file that nobody came to need."""
        with self._lock:
            if upload.users == 0:
                self._drop(upload)

    def _preview(self, upload: Upload) -> Path:
        return self.folder / f"{upload.id}.preview"

    def preview(self, image: Image, side: int) -> tuple[bytes, str]:
        """Return a preview of an image, and its media type."""
        data = self._preview(image).read_bytes()
        if side >= min(previews.SIDE, max(image.width, image.height)):
            return data, "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
        with reading(), collected():
            file = files.read(io.BytesIO(data))
        alpha = file.images.alpha
        clear = None if alpha is None else alpha[0]
        return previews.encoded(file.images.values[0], clear, file.metadata, side)


class reading:  # noqa: N801 (a context, as of contextlib)
    """A block that decodes an image that was sent; what is wrong with it is a `Refusal`."""

    def __enter__(self) -> None:
        DECODING.acquire()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        DECODING.release()
        if isinstance(error, ImageError):
            status = 413 if TOO_LARGE in str(error) else 415
            raise Refusal(status, str(error)) from error


def plain_name(name: str) -> str:
    """Return the name of a file without folders and without signs that nobody sees."""
    last = name.replace("\\", "/").rpartition("/")[2].strip()
    return shown(last, LONGEST).lstrip(".") or "image"


def _described(upload: Upload, file: files.File, notes: list[str]) -> Image:
    height, width = file.images.size
    dtype = file.images.values.dtype
    return Image(
        id=upload.id,
        name=upload.name,
        path=upload.path,
        bytes=upload.bytes,
        width=width,
        height=height,
        depth=DEPTHS.get(str(dtype), "float"),
        channels=int(file.images.values.shape[-1]),
        alpha=_hides(file.images.alpha),
        notes=notes,
    )


def _hides(alpha: np.ndarray[Any, Any] | None) -> bool:
    """Return whether an opacity is less than full anywhere."""
    if alpha is None:
        return False
    top = 1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    return bool(alpha.min() < top)
