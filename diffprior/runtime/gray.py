"""Which images are gray."""

import numpy as np
from torch import Tensor

from ..io.arrays import Images

__all__ = ["gray_images"]


def gray_images(images: Images, lost: Tensor | None = None) -> list[bool]:
    """Return of each image whether its channels are the same wherever it says something.

    Arguments:
        lost: True where the images say nothing, ``(B, 1, H, W)``; nor do they where they are clear.
    """
    same = (images.values == images.values[..., :1]).all(-1)
    if images.alpha is not None:
        same |= images.alpha == 0
    if lost is not None:
        same |= lost[:, 0].cpu().numpy()
    return [bool(np.all(row)) for row in same]
