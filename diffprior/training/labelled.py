"""Small images with class labels, in memory, for a class-conditional network."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from .photographs import Crops, Image

__all__ = ["ClassedImages"]

HELD_OUT = 256  # test images for validation


class ClassedImages:
    """The images of an ``.npz`` file, as MNIST and similar data sets are distributed.

    The file holds ``x_train``, uint8 of shape ``(N, H, W)`` or ``(N, H, W, C)``, its labels
    ``y_train`` of shape ``(N,)``, and ``x_test`` for validation. Images are drawn whole, neither
    mirrored nor turned.

    Arguments:
        path: The file.

    Raises:
        ValueError: If an array is missing or has another shape or dtype.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as data:
            missing = {"x_train", "y_train", "x_test"} - {*data}
            if missing:
                raise ValueError(f"{path} has no {', '.join(sorted(missing))}")
            x, y, test = data["x_train"], data["y_train"], data["x_test"]
        if x.dtype != np.uint8 or x.ndim not in (3, 4) or len(x) != len(y):
            raise ValueError(
                f"x_train must be uint8 (N, H, W[, C]) and y_train (N,), got {x.dtype} {x.shape} "
                f"and {y.shape} in {path}"
            )
        self.pixels = _channels_first(x)
        self.labels = torch.from_numpy(y).long()
        chosen = test[:: max(1, len(test) // HELD_OUT)]
        self.validation: list[Image] = [*(chosen if x.ndim == 4 else chosen[..., None])]
        self.sources: dict[str, list[Any]] = {path.stem: [*range(len(x))]}

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1

    def to(self, device: str | torch.device) -> Self:
        """Move the images to a device."""
        self.pixels = self.pixels.to(device)
        self.labels = self.labels.to(device)
        return self

    def batch(
        self, rng: np.random.Generator, n: int, side: int, crops: Crops | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return random images, uint8 of shape ``(n, C, H, W)``, and their labels ``(n,)``.

        Arguments:
            rng: Source of randomness.
            n: Number of images.
            side: Ignored; images are whole.
            crops: Ignored.
        """
        index = torch.from_numpy(rng.integers(len(self.pixels), size=n)).to(self.pixels.device)
        return self.pixels[index], self.labels[index]


def _channels_first(x: np.ndarray[Any, Any]) -> Tensor:
    pixels = torch.from_numpy(x)
    return pixels[:, None] if x.ndim == 3 else pixels.permute(0, 3, 1, 2)
