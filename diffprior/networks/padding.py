"""Padding of images at the bottom and at the right, for networks that need certain sizes."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["pad", "pad_to_multiple"]


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Return images padded to sides that are multiples of a number, by reflection if possible."""
    return pad(x, -x.shape[-2] % multiple, -x.shape[-1] % multiple)


def pad(x: Tensor, down: int, right: int) -> Tensor:
    """Return images with so many more pixels, reflected; repeated if they are too small for that.

    Arguments:
        x: Images, of shape ``(B, C, H, W)``.
        down, right: Pixels to add at the bottom and at the right.
    """
    if not (down or right):
        return x
    mode = "reflect" if down < x.shape[-2] and right < x.shape[-1] else "replicate"
    return F.pad(x, (0, right, 0, down), mode=mode)
