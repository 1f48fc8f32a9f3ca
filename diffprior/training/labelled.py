"""Small images with class labels, in memory, for a class-conditional network."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError
from ..validation import shown
from .data import WholeRows, rounded
from .image_files import UNREADABLE, Image, Skipped

__all__ = ["ClassedImages", "numbered"]

HELD_OUT = 256  # test images for validation
MOST_CLASSES = 10_000
STRIDE = 4  # of the network for small images
LARGE = 2**28  # bytes of an array from which it is suspicious ...
GROWTH = 50  # ... if it was packed to so small a part: images are packed to a half or a tenth
HEAD = 2**16  # bytes of an array that its head may take
Array = np.ndarray[Any, Any]


class ClassedImages(WholeRows):
    """The images of an ``.npz`` file, as MNIST and similar data sets are distributed.

    The file holds ``x_train``, uint8 of shape ``(N, H, W)`` or ``(N, H, W, C)``, its labels
    ``y_train`` of shape ``(N,)``, and ``x_test`` for validation. Images are drawn whole, neither
    mirrored nor turned. Labels are numbers; ``CaptionedImages`` has texts in their place.

    Arguments:
        path: The file.

    Raises:
        ImageError: If the file cannot be read, or an array is missing or has another shape or
            dtype.
    """

    labels: Tensor

    def __init__(self, path: Path) -> None:
        where = shown(path)
        x, y, test = _arrays(path)
        is_images = x.dtype == np.uint8 and x.ndim in (3, 4) and len(x) > 0
        if not is_images or y.shape != x.shape[:1]:
            raise ImageError(
                f"x_train must be uint8 (N, H, W[, C]) and y_train (N,), got {x.dtype} {x.shape} "
                f"and {y.shape} in {where}"
            )
        if test.dtype != np.uint8 or test.shape[1:] != x.shape[1:]:
            raise ImageError(
                f"x_test must be like x_train, uint8 (N, H, W[, C]), got {test.dtype} {test.shape} "
                f"in {where}"
            )
        _check_images(x, where)
        self.captions: list[str] = []
        if y.dtype.kind == "U":
            self.captions, self.labels = numbered(y.tolist())
        elif y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= MOST_CLASSES:
            raise ImageError(f"y_train must be whole numbers from 0 to {MOST_CLASSES - 1}: {where}")
        else:
            self.labels = torch.from_numpy(y.astype(np.int64))
        self.skipped = Skipped()
        self.pixels = _channels_first(x)
        chosen = test[:: max(1, len(test) // HELD_OUT)]
        self.validation: list[Image] = [*(chosen if x.ndim == 4 else chosen[..., None])]
        self.sources: dict[str, list[Any]] = {path.stem: [*range(len(x))]}

    @property
    def deviation(self) -> float:
        """Standard deviation of the pixels in [-1, 1], of some images, to two digits."""
        return rounded(float((self.pixels[::50].float() / 127.5 - 1).std()))

    @property
    def classes(self) -> int:  # type: ignore[override]
        """Number of classes."""
        return int(self.labels.max()) + 1


def numbered(texts: Sequence[str]) -> tuple[list[str], Tensor]:
    """Return the different texts, and the number of each text among them, int64 ``(N,)``."""
    known = {text: i for i, text in enumerate(sorted(set(texts)))}
    return [*known], torch.tensor([known[text] for text in texts])


def _channels_first(x: np.ndarray[Any, Any]) -> Tensor:
    pixels = torch.from_numpy(x)
    return pixels[:, None] if x.ndim == 3 else pixels.permute(0, 3, 1, 2)


def _check_images(x: Array, where: str) -> None:
    height, width = x.shape[1:3]
    channels = x.shape[3] if x.ndim == 4 else 1
    if channels not in (1, 3) or not height or not width or height % STRIDE or width % STRIDE:
        raise ImageError(
            f"images have 1 or 3 channels and sides that are multiples of {STRIDE}, got "
            f"{x.shape[1:]} in {where}"
        )
    if x.min() == x.max():
        raise ImageError(f"all pixels of x_train are equal in {where}")


def _arrays(path: Path) -> tuple[Array, Array, Array]:
    """Return the arrays of the file. Sizes are checked before memory is taken for them."""
    where = shown(path)
    try:
        with zipfile.ZipFile(path) as archive:
            known = {info.filename: info for info in archive.infolist()}
            names = ("x_train", "y_train", "x_test")
            if missing := [name for name in names if f"{name}.npy" not in known]:
                raise ImageError(f"{where} has no {', '.join(missing)}")
            x, y, test = (_array(archive, known[f"{name}.npy"], where) for name in names)
    except UNREADABLE as error:
        raise ImageError(f"{where} cannot be read as an .npz file") from error
    return x, y, test


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> Array:
    """Return one array; its head must say the size that the file has."""
    name = f"{shown(info.filename)} in {where}"
    if info.file_size > max(LARGE, GROWTH * info.compress_size):
        raise ImageError(
            f"{name} grows from {info.compress_size} to {info.file_size} bytes when it is unpacked"
        )
    try:
        with archive.open(info) as file:
            shape, dtype = _head(file)
            size = int(np.prod(shape, dtype=object)) * dtype.itemsize
            if dtype.hasobject or not 0 <= info.file_size - size <= HEAD:
                raise ImageError(f"{name} has not the size that its head says")
        with archive.open(info) as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except ImageError:
        raise
    except (ValueError, TypeError, SyntaxError, MemoryError) as error:  # of numpy, on a wrong head
        raise ImageError(f"{name} is no array, or it is damaged") from error


def _head(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the dtype that the head of an array says."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
    shape, _, dtype = (read or np.lib.format.read_array_header_2_0)(file)
    return shape, dtype
