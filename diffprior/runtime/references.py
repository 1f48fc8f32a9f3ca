"""Further images of a scene: their places in the images of a call, and what they show of holes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..exemplar.references import REDUCED, Reference, locate, show
from ..io.arrays import Images, as_images
from .problem import Window

__all__ = ["Given", "Placed", "given", "place_references"]

Placed = Sequence[Sequence[Reference]]  # for each image the references, with their places in it

PATCHES = "the reference could not be fitted around the hole; its patches may be copied"
AGAIN = "the reference has in the hole what the image has there, and it is seen again"
SAME = 12 / 255  # in [0, 1]; mean difference of two shots of one thing
UNUSED = "the reference could not be fitted around the hole, and is not used"


class Given(NamedTuple):
    """What references show of the holes of images.

    Attributes:
        values: The images with these holes filled, ``(B, 3, H, W)`` in [-1, 1].
        filled: Where, ``(B, 1, H, W)`` of bool.
        again: Whether they show what the image has in its hole, of each image.
    """

    values: Tensor
    filled: Tensor
    again: Sequence[bool]

    def over(self, x: Tensor, rows: list[int], window: Window) -> Tensor:
        """Return states with what is given laid over them.

        Arguments:
            x: A window of some images, ``(b, C, h, w)``.
            rows: Their numbers.
        """
        filled = window.cut(self.filled[rows])
        if not filled.any():
            return x
        values = window.cut(self.values[rows])
        if x.shape[1] == 1:
            values = values.mean(1, keepdim=True)
        return torch.where(filled.to(x.device), values.to(x), x)

    def report(self, rows: list[int], hole: Tensor, copied: bool) -> dict[str, str]:
        """Return what a report says of the references.

        Arguments:
            rows: The numbers of some images.
            hole: The pixels to fill of all, ``(B, 1, H, W)`` of bool.
            copied: Whether patches may be copied.
        """
        lost, filled = int(hole[rows].sum()), int(self.filled[rows].sum())
        if filled:
            note = {"note": AGAIN} if any(self.again[i] for i in rows) else {}
            return {"reference": f"fitted: it fills {filled / lost:.0%} of the hole", **note}
        return {"reference": "not fitted", "note": PATCHES if copied else UNUSED} if lost else {}


def place_references(images: Images, unknown: Tensor, reference: Any) -> list[list[Reference]]:
    """Return references with their places in each of some images.

    Arguments:
        unknown: Where nothing is known of the images, ``(B, 1, H, W)`` of bool.
        reference: An image or a batch, or a list of these; None for none.
    """
    several = reference if isinstance(reference, list | tuple) else [reference]
    others = [(x + 1) / 2 for each in several if each is not None for x in as_images(each).tensor()]
    return [
        [locate(*_small(images.values[i], unknown[i, 0]), other, images.size) for other in others]
        for i in range(len(images))
    ]


def given(images: Images, hole: Tensor, unknown: Tensor, placed: Placed) -> Given:
    """Return what references show of the holes of images.

    Arguments:
        hole: The pixels to fill, ``(B, 1, H, W)`` of bool.
        unknown: Those, and further ones of which nothing is known.
    """
    if not any(placed):
        nothing = torch.empty(len(images), 3, 0, 0)
        return Given(nothing, torch.zeros_like(hole), [False] * len(images))
    x = (images.tensor() + 1) / 2
    found = [show(x[i], hole[i, 0], ~unknown[i, 0], own) for i, own in enumerate(placed)]
    values = torch.stack([each.image for each in found])
    filled = torch.stack([each.filled for each in found])[:, None]
    again = [_is_same(a[:, f[0]], b[:, f[0]]) for a, b, f in zip(x, values, filled, strict=True)]
    return Given(2 * values - 1, filled, again)


def _is_same(before: Tensor, after: Tensor) -> bool:
    """Return whether colors ``(C, N)`` are those of one thing in two shots, which has details."""
    plain = before.numel() == 0 or float(before.std(1).max()) < SAME
    return not plain and float((before - after).abs().mean()) < SAME


def _small(values: np.ndarray[Any, Any], unknown: Tensor) -> tuple[Tensor, Tensor]:
    """Return an image ``(h, w, C)`` and where it is not known, in the size that is looked at."""
    import cv2  # takes long to import, and only references need it

    scale = min(1.0, REDUCED / max(values.shape[:2]))
    height, width = (max(1, round(scale * n)) for n in values.shape[:2])
    lost = unknown.numpy().astype(np.float32)
    small, share = (
        cv2.resize(v, (width, height), interpolation=cv2.INTER_AREA) for v in (values, lost)
    )
    top = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    planes = small.reshape(height, width, -1).astype(np.float32) / top
    return torch.from_numpy(planes).movedim(-1, 0), torch.from_numpy(share) > 0
