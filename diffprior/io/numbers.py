"""Files of measurements: arrays of numbers that are not images."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .arrays import ImageError

__all__ = ["Measurement", "read"]


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
        ImageError: If the file cannot be read, or holds anything but real numbers.
    """
    name = str(source if isinstance(source, Path) else getattr(source, "name", "the stream"))
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.read()
        array = np.load(BytesIO(data), allow_pickle=False)
    except OSError as error:
        raise ImageError(f"{name}: it cannot be read: {error.strerror or error}") from error
    except Exception as error:  # numpy raises anything on damaged data
        raise ImageError(f"{name}: it is no .npy file of numbers, or it is damaged") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        what = getattr(array, "dtype", "several arrays")
        raise ImageError(f"{name}: it holds {what}; give one array of real numbers")
    return Measurement(name=name, array=array)
