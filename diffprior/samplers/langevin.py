"""Annealed Langevin dynamics of NCSN (Song and Ermon, 2019): many small steps at each level."""

from dataclasses import dataclass

from torch import Tensor

from ..kernels import GaussianKernel
from ..priors.base import Prior
from ..processes import SDE
from ..random import Noise
from ..schedules import Grid
from ..validation import Positive
from .base import Sampler

__all__ = ["Langevin", "langevin_step"]


def langevin_step(prior: Prior, x: Tensor, t: Tensor, size: float) -> GaussianKernel:
    """Return the Langevin step N(x + h score / 2, h) at time t, with h = size sigma_t^2."""
    schedule = prior.diffusion.schedule
    h = size * schedule(t)[1] ** 2
    return GaussianKernel(x + h / 2 * SDE(schedule).score(x, prior(x, t), t), h)


@dataclass(frozen=True, kw_only=True)
class Langevin(Sampler):
    """At each level, ``repeats`` steps x + h score / 2 + sqrt(h) eps, with h = size sigma_t^2.

    ``steps`` levels follow each other; h is the paper's alpha_i = epsilon sigma_i^2 / sigma_L^2,
    and ``size`` its epsilon / sigma_L^2 (2e-5 / 0.01^2). "Generative Modeling by Estimating
    Gradients of the Data Distribution", algorithm 1, https://arxiv.org/abs/1907.05600.

    Arguments:
        repeats: Langevin steps at each level, each of them a call.
        size: Size of a step, in units of the variance of the noise of its level.
    """

    steps: int = 10
    grid: Grid = "logsnr"
    repeats: int = 100
    size: Positive = 0.2

    @property
    def draws(self) -> bool:
        return True

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        schedule = prior.diffusion.schedule
        stream = self.stream(noise)
        x = schedule(s)[0] / schedule(t)[0] * x_t
        for _ in range(self.repeats):
            x = langevin_step(prior, x, s, self.size).sample(stream)
        return x, None
