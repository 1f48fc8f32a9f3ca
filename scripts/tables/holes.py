"""Wide holes to measure fills with: blobs, objects, and the holes of objects moved aside."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from diffprior.io import files
from diffprior.io.arrays import to_pil
from diffprior.operators.generators.masks import blob

__all__ = ["SETS", "Case", "cases", "moved", "object_cases", "photo"]

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
SETS = ("blobs", "moved", "objects")
SIDE = 384  # px, of the crops with a blob
SMALLEST = 250  # px, the short side of an image that has room for one
SPARE = 8  # px, between an object and its hole that moved aside


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """An image with a hole.

    Arguments:
        group: One of ``SETS``.
        name: Name of the image, and of the object.
        image: RGB values of shape ``(H, W, 3)``, uint8. Under the hole they are the truth, but for
            the group ``objects``: there they are what is to go.
        hole: The mask of shape ``(H, W)``, True where to fill.
    """

    group: str
    name: str
    image: Array
    hole: Array

    @property
    def has_truth(self) -> bool:
        """Whether the image is known under its hole."""
        return self.group != "objects"

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return the image in [-1, 1], ``(1, 3, H, W)``, and the hole, ``(1, 1, H, W)``."""
        return tensor(self.image), torch.from_numpy(self.hole)[None, None]


def tensor(image: Array) -> Tensor:
    """Return RGB values ``(H, W, 3)`` as a state ``(1, 3, H, W)`` in [-1, 1]."""
    return torch.from_numpy(image).movedim(-1, 0)[None].float() / 127.5 - 1


def photo(path: Path) -> Array:
    """Return the RGB values of a file, ``(H, W, 3)``, uint8."""
    x = files.read(path).images.tensor()[0]
    return np.array(to_pil(x.expand(3, -1, -1)))


def cases(paths: Sequence[Path], masks: Path | None, groups: Sequence[str]) -> Iterator[Case]:
    """Yield the cases of groups, for images and a folder of masks of objects."""
    if "blobs" in groups:
        for number, path in enumerate(paths):
            yield from blob_cases(path, number)
    if masks is not None:
        objects = object_cases(paths, masks)
        if "moved" in groups:
            yield from (case for found in objects if (case := moved(found)) is not None)
        if "objects" in groups:
            yield from objects


def blob_cases(path: Path, seed: int) -> Iterator[Case]:
    """Yield a crop of an image with a blob in it; nothing for an image that is too small."""
    image = photo(path)
    height, width = image.shape[:2]
    side = min(SIDE, height, width)
    if side < SMALLEST:
        return
    rng = np.random.default_rng([seed, 0])
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = np.ascontiguousarray(image[y : y + side, x : x + side])
    hole = blob(side, side, seed)[0].numpy()
    yield Case(group="blobs", name=path.stem, image=crop, hole=hole)


def object_cases(paths: Sequence[Path], masks: Path) -> list[Case]:
    """Return the images with a mask: the name of its file is the image's, ``_``, and the object."""
    found = []
    for file in files.find([str(masks)]):
        own = [path for path in paths if file.stem.startswith(f"{path.stem}_")]
        if own:
            image, hole = (
                photo(max(own, key=lambda path: len(path.stem))),
                photo(file)[..., 0] > 127,
            )
            found.append(Case(group="objects", name=file.stem, image=image, hole=hole))
    return found


def moved(case: Case) -> Case | None:
    """Return the same hole at the nearest place beside the object, where the truth is known.

    None stands for an object that is too large for the image to have such a place.
    """
    rows, columns = np.nonzero(case.hole)
    top, left = rows.min(), columns.min()
    shape = case.hole[top : rows.max() + 1, left : columns.max() + 1]
    wide = cv2.dilate(case.hole.astype(np.uint8), np.ones((2 * SPARE + 1, 2 * SPARE + 1), np.uint8))
    overlap = cv2.matchTemplate(
        wide.astype(np.float32), shape.astype(np.float32), cv2.TM_CCORR
    )  # of all places of the shape inside the image
    y, x = np.indices(overlap.shape)
    distance = np.where(overlap < 0.5, np.hypot(y - top, x - left), np.inf)
    if not np.isfinite(distance).any():
        return None
    y, x = np.unravel_index(distance.argmin(), distance.shape)
    hole = np.zeros_like(case.hole)
    hole[y : y + shape.shape[0], x : x + shape.shape[1]] = shape
    return Case(group="moved", name=case.name, image=case.image, hole=hole)
