"""The masks of tasks: what they say, and what is said of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..classical.fill import flat_holes
from ..io import masks
from ..io.arrays import Images
from ..validation import warn

__all__ = ["SoftMask", "full_mask", "one_color", "soft_mask"]

FLAT = 2  # levels of 8 bits; the largest difference in one color


class SoftMask(NamedTuple):
    """The weights of a mask, ``(B, 1, H, W)`` in [0, 1], and the keys of a report about them."""

    weights: Tensor
    report: Mapping[str, str]


def full_mask(images: Images) -> SoftMask:
    """Return the mask of all of some images, for a task that was given none."""
    return SoftMask(torch.ones(len(images), 1, *images.size), {})


def soft_mask(mask: Any, images: Images, *, fit: bool | None = None) -> SoftMask:
    """Return the mask of some images; what a person may have meant otherwise becomes a warning.

    Arguments:
        mask: As in ``diffprior.io.mask_tensor``.
        fit: Whether a mask of another size is resized; None where a task has no such setting.

    Raises:
        ImageError: If the mask cannot be used.
    """
    advice = "give one of the same size" + (", or use --fit-mask" if fit is False else "")
    reading = masks.interpret(mask, images, advice, fit=bool(fit))
    for doubt in reading.doubts:
        warn(doubt)
    said = "; ".join((*reading.notes, *reading.doubts))
    return SoftMask(reading.weights, {"mask": said} if said else {})


def one_color(images: Images, hole: Tensor, known: Tensor) -> Tensor:
    """Return the part of the holes of some images that one color surrounds, as ``flat_holes``."""
    return flat_holes(images.values, hole, known, FLAT * images.level)
