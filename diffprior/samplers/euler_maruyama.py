"""Euler-Maruyama on the reverse stochastic equation (Song et al., 2021)."""

from dataclasses import dataclass

from torch import Tensor

from ..priors.base import Prior
from ..processes import SDE
from ..random import Noise
from ..schedules import Grid
from .base import Sampler

__all__ = ["EulerMaruyama"]


@dataclass(frozen=True, kw_only=True)
class EulerMaruyama(Sampler):
    """x_s = x_t + (s - t) (f x_t - g^2 score) + sqrt(t - s) g eps, with f and g at time t.

    Converges in law with first order; below some hundred steps it may not be stable. The last step
    draws no noise. "Score-Based Generative Modeling through Stochastic Differential Equations",
    eq. 6, https://arxiv.org/abs/2011.13456.
    """

    steps: int = 1000
    grid: Grid = "logsnr"

    @property
    def draws(self) -> bool:
        return True

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        stream = self.stream(noise)
        kernel = SDE(prior.diffusion.schedule).reverse_step(x_t, prior(x_t, t), t, s)
        return kernel.sample(stream) if s > 0 else kernel.mean, None
