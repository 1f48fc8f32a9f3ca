"""EDM (Karras et al., 2022): all noise levels at once, each with a loss of about the same size."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ..networks.parameterizations import Karras, Parameterization, karras
from ..validation import ANYWHERE, Positive
from .base import Batch, Denoiser, Objective, check_levels, column, row_means

__all__ = ["EDM"]


@dataclass(frozen=True, kw_only=True)
class EDM(Objective):
    """E[lambda(sigma) |D(x_0 + sigma eps; sigma) - x_0|^2], log(sigma) ~ N(p_mean, p_std^2).

    lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2. "Elucidating the Design Space of
    Diffusion-Based Generative Models" (Karras et al., 2022), https://arxiv.org/abs/2206.00364,
    sec. 5. Its times are noise levels.

    Arguments:
        p_mean: Mean of the logarithm of the noise level.
        p_std: Standard deviation of it.
        sigma_min, sigma_max: The noise levels that a sampler is to use.
    """

    p_mean: Annotated[float, ANYWHERE] = -1.0
    p_std: Positive = 1.5
    sigma_min: Positive = 0.005
    sigma_max: Positive = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_levels(self.sigma_min, self.sigma_max)

    def parameterization(self, sigma_data: float) -> Parameterization:
        return Karras(self.sigma_min, self.sigma_max, sigma_data)

    def times(self, u: Tensor) -> Tensor:
        normal = torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4)).float()
        return torch.exp(self.p_mean + self.p_std * normal)

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        sigma, x_0 = batch.t.to(batch.x_0.dtype), batch.x_0
        own = denoiser.parameterization
        sigma_data = own.sigma_data if isinstance(own, Karras) else 1.0
        x = x_0 + column(sigma, x_0) * batch.noise
        estimate = karras(denoiser.network, x, sigma, sigma_data, denoiser.labels)
        weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
        return weight * row_means((estimate - x_0) ** 2)
