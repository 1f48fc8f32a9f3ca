"""The mean of the step before, mu (Ho et al., 2020): what DDPM compares its noise with."""

from dataclasses import dataclass

from torch import Tensor

from ..networks.parameterizations import Mean
from ..networks.predictions import convert
from .base import Batch, Denoiser, Steps, column

__all__ = ["Mu"]


@dataclass(frozen=True, kw_only=True)
class Mu(Steps):
    """E|mu_theta(x_t, t) - mu|^2 with mu = E[x_s | x_t, x_0], s one step before t, t uniform.

    At the first step mu is x_0. "Denoising Diffusion Probabilistic Models" (Ho et al., 2020),
    sec. 3.2 and table 2, https://arxiv.org/abs/2006.11239.
    """

    def parameterization(self, sigma_data: float) -> Mean:
        return Mean(self.table())

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        place = Mean(self.table()).place(column(batch.t, batch.x_0))
        target = convert(batch.x_0, "x_0", "mu", denoiser.noised(batch), place)
        return self.own_losses(denoiser, batch, target)
