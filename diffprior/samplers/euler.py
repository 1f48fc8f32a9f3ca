"""Euler's method on the probability flow (Song et al., 2021), as plain as it is."""

from dataclasses import dataclass

from torch import Tensor

from ..priors.base import Prior
from ..processes import SDE
from ..random import Noise
from ..schedules import Grid
from .base import Sampler

__all__ = ["Euler"]


@dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
    """x_s = x_t + (s - t) (f x_t - g^2 score / 2), f and g those of ``processes.SDE``.

    First order in the time t of the schedule. DDIM is Euler's method in sigma / alpha, which is
    better at few steps: this one is what it is measured against. "Score-Based Generative Modeling
    through Stochastic Differential Equations", eq. 13, https://arxiv.org/abs/2011.13456.
    """

    steps: int = 500
    grid: Grid = "logsnr"

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        flow = SDE(prior.diffusion.schedule).flow(x_t, prior(x_t, t), t)
        return x_t + (s - t) * flow, None
