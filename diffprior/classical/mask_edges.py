"""Masks are dilated, or their edges are feathered, before a hole is filled."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from ._distances import to_border

__all__ = ["dilate", "feather"]


def dilate(mask: Tensor, pixels: int) -> Tensor:
    """Return a mask ``(B, 1, H, W)``, dilated by a disc with a radius of ``pixels``."""
    if pixels >= sum(mask.shape[2:]):
        return mask.amax((2, 3), keepdim=True).expand_as(mask).contiguous()
    if bool(((mask == 0) | (mask == 1)).all()):  # a distance is faster than a disc
        return _each(lambda m: (_away(m) <= pixels).astype(m.dtype), mask)
    d = np.hypot(*np.ogrid[-pixels : pixels + 1, -pixels : pixels + 1])
    return _each(lambda m: np.asarray(cv2.dilate(m, (d <= pixels).astype(np.uint8))), mask)


def feather(mask: Tensor, pixels: int) -> Tensor:
    """Return a mask ``(B, 1, H, W)`` with a ramp of ``pixels`` around its hole, the part that is 1.

    At the distance d from the hole, the mask becomes at least 1 - d / (pixels + 1).
    """
    return _each(lambda m: np.asarray(np.maximum(m, 1 - _away(m) / (pixels + 1))), mask)


def _away(mask: np.ndarray) -> np.ndarray:
    """Return the distance of each pixel ``(H, W)`` from the hole, in pixels."""
    outside = (mask < 1).astype(np.uint8)
    return np.asarray(to_border(outside))


def _each(change: Callable[[np.ndarray], np.ndarray], mask: Tensor) -> Tensor:
    changed = [change(m) for m in mask[:, 0].cpu().numpy()]
    return torch.from_numpy(np.stack(changed)[:, None]).to(mask)
