"""Velocity of the circle, v (Salimans and Ho, 2022): between the noise and the image."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import Batch, Denoiser, Steps, column

__all__ = ["V"]


@dataclass(frozen=True, kw_only=True)
class V(Steps):
    """E|v_theta(x_t, t) - v|^2 with v = alpha_t eps - sigma_t x_0, t uniform over the steps.

    "Progressive Distillation for Fast Sampling of Diffusion Models" (Salimans and Ho, 2022),
    app. D, https://arxiv.org/abs/2202.00512.
    """

    kind: ClassVar[str] = "v_prediction"

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        alpha_t, sigma_t = denoiser.schedule(column(batch.t, batch.x_0))
        return self.own_losses(denoiser, batch, alpha_t * batch.noise - sigma_t * batch.x_0)
