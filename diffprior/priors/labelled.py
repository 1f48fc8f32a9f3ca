"""Networks with classes, each prior one of images of one class."""

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from torch import Tensor

from .base import Prior, row_by_row

__all__ = ["LabelledPrior"]


class LabelledPrior(Prior, ABC):
    """p(x_0 | c), or p(x_0) where the network has no classes; of one channel, colors are a mean.

    Attributes:
        classes: How many classes the network tells apart; 0 for none.
        label: The class c.
        free: Whether it also knows p(x_0) beside its classes: the label None.
    """

    classes: int
    label: int | None
    free: ClassVar[bool] = False

    def labelled(self, label: int | None) -> Self:
        """Return the prior of another class; the network is shared."""
        prior = copy.copy(self)
        prior.label = checked(label, self.classes, self.free)
        return prior

    @abstractmethod
    def estimate(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x_0 | x_t] by the network, of all rows at once."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return row_by_row(lambda x: self.estimate(x, t), x_t)

    def encode(self, image: Tensor) -> Tensor:
        return image.mean(1, keepdim=True) if self.shape[0] == 1 else image

    def labels(self, x_t: Tensor) -> Tensor | None:
        """Return the class of each row of a batch, of shape ``(B,)``."""
        if self.label is None:
            return None
        return torch.full((len(x_t),), self.label, device=x_t.device)


def checked(label: int | None, classes: int, free: bool = False) -> int | None:
    """Return a class that there is, or refuse in one sentence."""
    if label is None and (free or not classes):
        return None
    if not classes:
        raise ValueError(f"this network has no classes, so none is to be chosen by label={label!r}")
    if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < classes:
        raise ValueError(
            f"this network has {classes} classes: label is one of 0 ... {classes - 1}, "
            f"got {label!r}"
        )
    return label
