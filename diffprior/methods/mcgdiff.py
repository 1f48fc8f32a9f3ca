"""MCGDiff (Cardoso et al., 2023): a particle filter in the spectrum of A, entry by entry."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import SVDOperator
from ..random import Noise
from .base import ChainMethod, Needs, SVDPosterior
from .smc import resample

__all__ = ["MCGDiff"]


@dataclass(frozen=True, kw_only=True)
class MCGDiff(ChainMethod[GaussianLikelihood[SVDOperator]]):
    """Particles u = V^T x_t / alpha_t, held to y = U^T y / s at the level nu = sigma / s of y.

    y has, entry by entry, the law of u at the time when sigma_t / alpha_t is nu. Down to there the
    kernels p(u_s | u_t) are multiplied by N(u_s; y, q_s - nu^2), with q_s = (sigma_s / alpha_s)^2;
    at nu the entry is y, and below it is free. Particles are resampled before each step by
    int p(u_s | u_t) N(u_s; y, q_s - nu^2) du_s / N(u_t; y, q_t - nu^2). A level between two times
    of the grid is passed in two steps, so that nothing is rounded to the grid, and no kappa is
    needed; one below the grid counts as its end. The particles converge to the posterior as
    their number grows, up to the error of the time steps. "Monte Carlo guided Diffusion for
    Bayesian linear inverse problems", https://arxiv.org/abs/2308.07983. The paper has 100 steps.
    """

    joint: ClassVar[bool] = True
    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, SVDOperator)

    def run(self, p: SVDPosterior, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        A = p.likelihood.operator
        schedule = p.schedule
        times = self.times(p.prior)
        measured = A.s > 1e-6 * A.s.max()
        y = torch.where(measured, A.to_left(p.likelihood.y) / A.s, 0)
        nu2 = torch.where(measured, (p.likelihood.sigma / A.s) ** 2, torch.inf)
        nu2 = torch.maximum(nu2, schedule.ratio(times[-1]) ** 2)
        u = A.to_spectrum(x_T) / schedule(times[0])[0]
        before = torch.zeros_like(u)
        for t, s, report in self.chain(p.prior, callback):
            x_0 = A.to_spectrum(p.prior(schedule(t)[0] * A.from_spectrum(u), t))
            q_t, q_s = schedule.ratio(t) ** 2, schedule.ratio(s) ** 2
            held = nu2 < q_t
            q = torch.minimum(torch.maximum(nu2, q_s), q_t)
            loc = x_0 + q / q_t * (u - x_0)
            var = q * (1 - q / q_t)
            total = torch.where(held, var + (q - nu2), 1)
            log_w = torch.where(held, before - (y - loc) ** 2 / total, 0).flatten(1).sum(1) / 2
            k = resample(log_w, noise)
            gain = torch.where(held, var / total, 0)
            u = (loc + gain * (y - loc))[k] + ((1 - gain) * var).sqrt() * noise.normal(u)
            u = x_0[k] + q_s / q * (u - x_0[k]) + (q_s * (1 - q_s / q)).sqrt() * noise.normal(u)
            before = torch.where(nu2 < q_s, (y - u) ** 2 / (q_s - nu2), 0)
            report(A.from_spectrum(u))
        return schedule(times[-1])[0] * A.from_spectrum(u)
