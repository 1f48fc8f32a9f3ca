"""Heun's method (Karras et al., 2022): two looks at the slope a step, with churn if asked for."""

import math
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
    With ``churn`` each step first adds noise, up to (1 + gamma) r, gamma = churn / steps, at most
    sqrt(2) - 1: algorithm 2 of the paper, at churn = 0 algorithm 1.
    https://arxiv.org/abs/2206.00364.

    Arguments:
        churn: S_churn; 0 draws no noise.
        low, high: S_tmin and S_tmax, the noise sigma / alpha between which there is churn.
        inflation: S_noise, the deviation of the noise that is added over that of the level.
    """

    steps: int = 50
    grid: Grid = "karras"
    churn: float = 0.0
    low: float = 0.0
    high: float = 1e6
    inflation: float = 1.0

    @property
    def draws(self) -> bool:
        return self.churn > 0

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        if self.churn > 0:
            x_t, t = self._churned(prior, x_t, t, self.stream(noise))
        schedule = prior.diffusion.schedule
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        z_t, r_t, r_s = x_t / alpha_t, sigma_t / alpha_t, sigma_s / alpha_s
        d_t = (z_t - prior(x_t, t)) / r_t
        z_s = z_t + (r_s - r_t) * d_t
        if s > 0:
            d_s = (z_s - prior(alpha_s * z_s, s)) / r_s
            z_s = z_t + (r_s - r_t) * (d_t + d_s) / 2
        return alpha_s * z_s, None

    def _churned(self, prior: Prior, x_t: Tensor, t: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return the states with more noise, and the time that they then have."""
        schedule = prior.diffusion.schedule
        alpha_t, sigma_t = schedule(t)
        r_t = sigma_t / alpha_t
        if not self.low <= float(r_t) <= self.high:
            return x_t, t
        gamma = min(self.churn / self.steps, math.sqrt(2) - 1)
        u = schedule.time((1 + gamma) * r_t)
        alpha_u, sigma_u = schedule(u)
        added = ((sigma_u / alpha_u) ** 2 - r_t**2).clamp_min(0).sqrt()
        z = x_t / alpha_t + self.inflation * added * noise.normal(x_t)
        return alpha_u * z, u
