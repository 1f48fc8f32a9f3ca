"""Files of measurements: arrays of numbers that are not images."""

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImageError
from ..validation import shown
from . import files
from .arrays import LUMA
from .sources import describe, fetch

__all__ = ["Measurement", "read", "read_plane"]

MOST = 2**32  # bytes of a file


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """The array of an .npy file, with the name of the file for messages."""

    name: str
    array: np.ndarray[Any, Any]


def read(source: Path | BinaryIO) -> Measurement:
    """Return the array of an .npy file. Pickled objects, which can run code, are refused.

    Arguments:
        source: A path, or a binary stream that is read to its end.

    Raises:
        ImageError: If the file cannot be read, or holds anything but real numbers. No other error.
    """
    name = describe(source)
    try:
        array = _array(fetch(source, MOST))
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except Exception as error:  # numpy raises anything on damaged data
        raise ImageError(f"{name}: it is no .npy file of numbers, or it is damaged") from error
    return Measurement(name=name, array=array)


def read_plane(path: Path, limit: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return numbers ``(H, W)`` from an .npy file, or those of an image in any range.

    The numbers of an image are its luma times its opacity.

    Arguments:
        path: The file.
        limit: The largest number of pixels of an image.

    Raises:
        ImageError: If the file cannot be read, or holds no such numbers.
    """
    if path.suffix.lower() == ".npy":
        plane = read(path).array
        while plane.ndim > 2 and 1 in (plane.shape[0], plane.shape[-1]):  # a batch or a channel
            plane = plane.squeeze(0 if plane.shape[0] == 1 else -1)
    else:
        plane = _luma(files.read_values(path, limit))
    if plane.ndim != 2 or plane.size == 0:
        raise ImageError(f"{shown(path)}: it has the shape {plane.shape}; give an array (h, w)")
    return plane.astype(np.float64)


def _luma(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the luma of values ``(H, W)`` or ``(H, W, C)``, times their opacity."""
    channels = np.atleast_3d(values).astype(np.float64)
    top = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    colors = channels.shape[-1] - (channels.shape[-1] + 1) % 2
    luma = channels[..., :colors] @ np.array(LUMA if colors == 3 else (1.0,))
    plane: np.ndarray[Any, Any] = (
        luma if colors == channels.shape[-1] else luma * channels[..., -1] / top
    )
    return plane


def _array(data: bytes) -> np.ndarray[Any, Any]:
    file = BytesIO(data)
    version = np.lib.format.read_magic(file)
    head = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = head(file)
    if dtype.hasobject or dtype.kind not in "buif":
        raise ImageError(f"it is no .npy file of numbers, but of {dtype}")
    if math.prod(shape) * dtype.itemsize > len(data):
        raise ImageError("it is cut short")
    array: np.ndarray[Any, Any] = np.load(BytesIO(data), allow_pickle=False)
    return array
