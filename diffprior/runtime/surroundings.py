"""What lies around an image: restored with it where a blur reached in from there, then cut off."""

from typing import NamedTuple, Self

import torch.nn.functional as F
from torch import Tensor

from ..errors import TaskError
from ..operators.base import Operator
from ..operators.blur import Blur

__all__ = ["Surroundings"]


class Surroundings(NamedTuple):
    """How many pixels around an image are restored together with it; by default none."""

    left: int = 0
    right: int = 0
    above: int = 0
    below: int = 0

    @classmethod
    def of(cls, blur: Operator | None) -> Self:
        """Return what a blur reaches in from: nothing for one that says what lies there."""
        return cls(*blur.reach) if isinstance(blur, Blur) and blur.boundary == "free" else cls()

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of an image with its surroundings.

        Raises:
            TaskError: If these are wider than the image.
        """
        if max(self[2:]) > height or max(self[:2]) > width:
            raise TaskError(
                f"this blur reaches {max(self)} pixels beyond an image of {width}x{height}: "
                "give a smaller kernel"
            )
        return height + self.above + self.below, width + self.left + self.right

    def add(self, x: Tensor) -> Tensor:
        """Return images ``(B, C, H, W)`` with a guess of their surroundings.

        It is their mirror image; of images that are too small for that, their border pixels.
        """
        if not any(self):
            return x
        fits = max(self[2:]) < x.shape[-2] and max(self[:2]) < x.shape[-1]
        return F.pad(x, self, mode="reflect" if fits else "replicate")

    def cut(self, x: Tensor) -> Tensor:
        """Return the images alone."""
        height, width = x.shape[-2:]
        rows = slice(self.above, height - self.below)
        return x[..., rows, self.left : width - self.right]
