"""Files of measurements: arrays of numbers that are not images."""

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImageError
from .sources import describe, fetch

__all__ = ["Measurement", "read"]

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
        raise ImageError(f"it holds {dtype}; give one array of real numbers")
    if math.prod(shape) * dtype.itemsize > len(data):
        raise ImageError("it is cut short")
    array: np.ndarray[Any, Any] = np.load(BytesIO(data), allow_pickle=False)
    return array
