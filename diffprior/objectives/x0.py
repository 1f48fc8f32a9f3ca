"""The clean image itself, x_0: the mean square error of a denoiser, at all steps alike."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import Batch, Denoiser, Steps

__all__ = ["X0"]


@dataclass(frozen=True, kw_only=True)
class X0(Steps):
    """E|D_theta(x_t, t) - x_0|^2, t uniform over the steps.

    It is L_simple with the weight sigma_t^2 / alpha_t^2.
    """

    kind: ClassVar[str] = "sample"

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        return self.own_losses(denoiser, batch, batch.x_0)
