"""DPIR (Zhang et al., 2021): annealed plug-and-play, denoiser and data in turn."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..likelihoods import GaussianLikelihood
from ..operators.base import LinearOperator
from ..priors.base import Prior
from ..random import Noise
from ..samplers.base import Watch
from ..schedules import grid
from .base import Method

__all__ = ["DPIR"]


@dataclass(frozen=True, kw_only=True)
class DPIR(Method[GaussianLikelihood[LinearOperator]]):
    """x_0 = D(x; r), then x = argmin_z ||y - A z||^2 / sigma^2 + weight ||z - x_0||^2 / r^2.

    The noise level r falls from one round to the next.
    Deterministic and noise-free: close to a posterior mean, it favours PSNR over texture.
    Heuristic. "Plug-and-Play Image Restoration with Deep Denoiser Prior",
    https://arxiv.org/abs/2008.13751.

    Arguments:
        start, stop: First and last noise level, in units of the picture ([-1, 1]); the last is
            never below the noise of the data. The levels between fall geometrically.
        steps: How many levels.
        weight: Trust in the prior beside noisy data (lambda in the paper); exact data are kept.
    """

    start: float | None = 0.3
    stop: float = 0.01
    steps: int = 30
    weight: float = 0.23

    draws: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, LinearOperator

    def depart(self, prior: Prior, x_0: Tensor, noise: Noise) -> Tensor:
        return x_0

    def run(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[LinearOperator],
        x_T: Tensor,
        noise: Noise,
        watch: Watch | None = None,
    ) -> Tensor:
        x, schedule = x_T, prior.diffusion.schedule
        end = schedule.time(max(self.stop, likelihood.sigma))
        times = grid(schedule, "logsnr", max(self.steps - 1, 1), self.begin(prior), end)
        for i, t in enumerate(times[: self.steps]):
            alpha_t, sigma_t = schedule(t)
            x_0 = prior(alpha_t * x, t)
            x = likelihood.condition(x_0, (sigma_t / alpha_t) ** 2 / self.weight)
            if watch is not None:
                watch(x, (i + 1) / self.steps)
        return x if likelihood.sigma == 0 else x_0
