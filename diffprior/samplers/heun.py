"""Heun's method (Karras et al., 2022, algorithm 1): two looks at the slope a step."""

from dataclasses import dataclass

from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid
from .base import Sampler

__all__ = ["Heun"]


@dataclass(frozen=True, kw_only=True)
class Heun(Sampler):
    """A second-order solver of the flow, two network calls a step, one for the last step to t = 0.

    With z = x / alpha and r = sigma / alpha the flow is dz/dr = (z - E[x_0 | z]) / r.
    https://arxiv.org/abs/2206.00364.
    """

    steps: int = 50
    grid: Grid = "karras"

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        schedule = prior.diffusion.schedule
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        z_t, r_t, r_s = x_t / alpha_t, sigma_t / alpha_t, sigma_s / alpha_s
        d_t = (z_t - prior(x_t, t)) / r_t
        z_s = z_t + (r_s - r_t) * d_t
        if s > 0:
            d_s = (z_s - prior(alpha_s * z_s, s)) / r_s
            z_s = z_t + (r_s - r_t) * (d_t + d_s) / 2
        return alpha_s * z_s, None
