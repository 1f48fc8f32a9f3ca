"""Reverse diffusion (Song et al., 2021): the reverse chain cut in steps as the forward one is."""

from dataclasses import dataclass

from torch import Tensor

from ..priors.base import Prior
from ..processes import SDE
from ..random import Noise
from ..schedules import Grid
from .base import Sampler

__all__ = ["ReverseDiffusion"]


@dataclass(frozen=True, kw_only=True)
class ReverseDiffusion(Sampler):
    """x_s = (2 - a) x_t + b score + sqrt(b) eps, where q(x_t | x_s) = N(a x_s, b).

    For VE, a = 1 and b = sigma_t^2 - sigma_s^2; for VP, a = sqrt(1 - beta) and b = beta. The last
    step draws no noise. "Score-Based Generative Modeling through Stochastic Differential
    Equations", app. E, https://arxiv.org/abs/2011.13456.
    """

    steps: int = 500
    grid: Grid = "logsnr"

    @property
    def draws(self) -> bool:
        return True

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        schedule = prior.diffusion.schedule
        stream = self.stream(noise)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        a = alpha_t / alpha_s
        b = sigma_t**2 - a**2 * sigma_s**2
        x_s = (2 - a) * x_t + b * SDE(schedule).score(x_t, prior(x_t, t), t)
        return x_s + b.sqrt() * stream.normal(x_s) if s > 0 else x_s, None
