"""The masks of tasks: what they say, and what is said of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..classical.fill import flat_holes
from ..errors import SettingError
from ..io import masks
from ..io.arrays import Images, as_images
from ..validation import warn

__all__ = ["GivenMask", "SoftMask", "full_mask", "given_mask", "one_color", "soft_mask"]

FLAT = 2  # levels of 8 bits; the largest difference in one color
RIM = 3  # px; how far the soft rim of a brush goes
# px; JPEG carries paint further: that which hides the image at least so far, and on the image
# itself, where a tint would be taken for known, most of the rest, too
BLED, BLED_ITSELF = 6, 8


class SoftMask(NamedTuple):
    """The weights of a mask, ``(B, 1, H, W)`` in [0, 1], and the keys of a report about them."""

    weights: Tensor
    report: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenMask:
    """A mask, and how the call says that it is read.

    Attributes:
        mask: As in ``diffprior.io.mask_tensor``; with a color an image that is painted over.
        color: The color of the paint; None for a mask of black and white.
        invert: Whether what is black, or not painted, is filled.
        itself: Whether it is the image of the task, which the paint is on.
    """

    mask: Any
    color: str | None = None
    invert: bool = False
    itself: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report says of it."""
        painted = () if self.color is None else (f"what is painted in {self.color}",)
        return (*painted, "inverted") if self.invert else painted


def given_mask(mask: Any, image: Any, *, mask_color: str | None, invert_mask: bool) -> Any:
    """Return what a task gets as its mask: the mask alone where nothing more is said of it.

    Arguments:
        image: The image of the task, which is painted over itself where there is no mask.

    Raises:
        SettingError: If there is nothing that the settings could be about.
    """
    if mask_color is None and not invert_mask:
        return mask
    name = "mask_color" if mask_color is not None else "invert_mask"
    if isinstance(mask, str):
        raise SettingError(f"{name} is about a mask that is given, and this one is {mask}")
    itself = mask is None and mask_color is not None
    drawn = image if itself else mask
    if drawn is None:
        raise SettingError(f"{name} is about a mask, and none is given")
    return GivenMask(mask=drawn, color=mask_color, invert=invert_mask, itself=itself)


def full_mask(images: Images) -> SoftMask:
    """Return the mask of all of some images, for a task that was given none."""
    return SoftMask(torch.ones(len(images), 1, *images.size), {})


def soft_mask(mask: Any, images: Images, *, fit: bool | None = None) -> SoftMask:
    """Return the mask of some images; what a person may have meant otherwise becomes a warning.

    Arguments:
        mask: A ``GivenMask``, or as in ``diffprior.io.mask_tensor``.
        fit: Whether a mask of another size is resized; None where a task has no such setting.

    Raises:
        ImageError: If the mask cannot be used.
    """
    advice = "give one of the same size" + (", or use --fit-mask" if fit is False else "")
    given = mask if isinstance(mask, GivenMask) else GivenMask(mask=mask)
    drawn = given.mask if given.color is None else _paint(given.mask, given.color, given.itself)
    reading = masks.interpret(drawn, images, advice, fit=bool(fit), invert=given.invert)
    for doubt in reading.doubts:
        warn(doubt)
    said = "; ".join((*given.notes, *reading.notes, *reading.doubts))
    return SoftMask(reading.weights, {"mask": said} if said else {})


def _paint(mask: Any, color: str, itself: bool) -> Images:
    """Return the mask of what is painted over in a color, turned as the image that it is on."""
    from ..masks import paint  # takes long to import, and few masks need it

    images = as_images(mask, "mask")
    bled = BLED_ITSELF if itself else BLED
    find = partial(paint.color, color=color, dilate=bled if images.lossy else RIM)
    found = [find(images.select([i])) for i in range(len(images))]
    values = np.stack([np.asarray(one) for one in found])[..., None].astype(np.uint8) * 255
    return replace(images, values=values, alpha=None, lossy=False)


def one_color(images: Images, hole: Tensor, known: Tensor) -> Tensor:
    """Return the part of the holes of some images that one color surrounds, as ``flat_holes``."""
    return flat_holes(images.values, hole, known, FLAT * images.level)
