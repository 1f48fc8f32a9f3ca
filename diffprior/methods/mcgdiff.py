"""MCGDiff (Cardoso et al., 2023): a particle filter in the basis where each entry is seen alone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import SVDOperator
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid
from .base import Method
from .smc import resample

__all__ = ["MCGDiff"]


@dataclass(frozen=True, kw_only=True)
class MCGDiff(Method[GaussianLikelihood[SVDOperator]]):
    """Particles u = V^T x_t / alpha_t, held to y = U^T y / s at the level nu = sigma / s of y.

    y has, entry by entry, the law of u at the time when sigma_t / alpha_t is nu. Down to there the
    kernels p(u_s | u_t) are multiplied by N(u_s; y, q_s - nu^2), with q_s = (sigma_s / alpha_s)^2;
    at nu the entry is y, and below it is free. Particles are resampled before each step by
    int p(u_s | u_t) N(u_s; y, q_s - nu^2) du_s / N(u_t; y, q_t - nu^2). A level between two times
    of the grid is passed in two steps, so that nothing is rounded to the grid, and no kappa is
    needed; one below the grid is taken as its end. The particles converge to the posterior as
    their number grows, up to the error of the time steps. "Monte Carlo guided Diffusion for
    Bayesian linear inverse problems", https://arxiv.org/abs/2308.07983.

    Arguments:
        steps: Steps of the chain; the paper has 100.
        grid: How its times are spaced.
    """

    steps: int = 200
    grid: Grid = "logsnr"

    joint: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, SVDOperator

    def run(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[SVDOperator],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        A, schedule = likelihood.operator, prior.diffusion.schedule
        seen = A.s > 1e-6 * A.s.max()
        y = torch.where(seen, A.to_left(likelihood.y) / A.s, 0)
        times = grid(schedule, self.grid, self.steps, self.start_time(prior))
        nu2 = torch.where(seen, (likelihood.sigma / A.s) ** 2, torch.inf)
        nu2 = torch.maximum(nu2, schedule.ratio(times[-1]) ** 2)
        u, before = A.to_spectrum(x_T) / schedule(times[0])[0], torch.zeros_like(x_T)
        for i, (t, s) in enumerate(times.unfold(0, 2, 1)):
            x_0 = A.to_spectrum(prior(schedule(t)[0] * A.from_spectrum(u), t))
            q_t, q_s = schedule.ratio(t) ** 2, schedule.ratio(s) ** 2
            held, q = nu2 < q_t, torch.minimum(torch.maximum(nu2, q_s), q_t)
            loc, var = x_0 + q / q_t * (u - x_0), q * (1 - q / q_t)
            total = torch.where(held, var + (q - nu2), 1)
            log_w = torch.where(held, before - (y - loc) ** 2 / total, 0).flatten(1).sum(1) / 2
            k, gain = resample(log_w, noise), torch.where(held, var / total, 0)
            u = (loc + gain * (y - loc))[k] + ((1 - gain) * var).sqrt() * noise.normal(u)
            u = x_0[k] + q_s / q * (u - x_0[k]) + (q_s * (1 - q_s / q)).sqrt() * noise.normal(u)
            before = torch.where(nu2 < q_s, (y - u) ** 2 / (q_s - nu2), 0)
            if callback is not None:
                callback(A.from_spectrum(u), (i + 1) / self.steps)
        return schedule(times[-1])[0] * A.from_spectrum(u)
