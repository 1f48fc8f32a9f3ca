"""Points of a few numbers, or bits, in memory, for a network without images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import ImageError
from ..validation import shown
from .data import WholeRows, rounded
from .image_files import Image, Skipped

__all__ = ["Points"]

MOST = 4096  # numbers of a point
Array = np.ndarray[Any, Any]


class Points(WholeRows):
    """The rows of an ``.npy`` file: an array of shape ``(N, D)``.

    Floating point numbers are points, drawn as they are. Booleans are bits, of the values 0 and 1.

    Arguments:
        path: The file.

    Raises:
        ImageError: If the file cannot be read, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        where = shown(path)
        try:
            x: Array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as error:
            raise ImageError(f"{where} cannot be read as an .npy file") from error
        kind = getattr(getattr(x, "dtype", None), "kind", "")
        if kind not in "fb" or not kind or x.ndim != 2 or not 1 <= x.shape[1] <= MOST or not len(x):
            raise ImageError(
                f"points are an array (N, D) of floats or booleans with D up to {MOST}, and "
                f"{where} is none"
            )
        if not np.isfinite(x).all():
            raise ImageError(f"some points of {where} are not finite")
        if x.std() == 0:
            raise ImageError(f"all numbers of {where} are equal")
        self.binary = kind == "b"
        self.pixels = torch.from_numpy(x.astype(np.float32))
        self.skipped = Skipped()
        self.validation: list[Image] = []
        self.sources: dict[str, list[Any]] = {path.stem: [*range(len(x))]}

    @property
    def deviation(self) -> float:
        """Standard deviation of the numbers of a point, to two digits."""
        return rounded(float(self.pixels.std()))
