"""What all masks of this package share: their kind, their size, and how they grow."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..classical.mask_edges import dilate as dilated
from ..validation import Whole, check

__all__ = ["Mask", "Plane", "finish"]

Plane = np.ndarray[Any, np.dtype[np.bool_]]  # (H, W)
Mask = Plane | Tensor


def finish(found: list[Plane], image: object, dilate: int) -> Mask:
    """Return masks, grown by a disc, as the kind that fits the image.

    Arguments:
        found: The mask ``(H, W)`` of each image of a batch.
        image: The image as the caller gave it.
        dilate: How far the masks grow, in pixels.

    Returns:
        A bool array ``(H, W)``; for a tensor ``(C, H, W)`` or ``(B, C, H, W)`` a bool tensor of the
        same number of axes with one channel, on the device of the image.
    """
    check("dilate", dilate, Whole)
    masks = torch.from_numpy(np.stack(found)[:, None])
    grown = dilated(masks.float(), dilate) > 0 if dilate else masks
    if not isinstance(image, Tensor):
        return np.asarray(grown[0, 0])
    return (grown if image.ndim == 4 else grown[0]).to(image.device)
