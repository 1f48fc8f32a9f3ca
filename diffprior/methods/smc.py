"""Twisted SMC (Wu et al., 2023): guided kernels propose, weights correct, for any diffusion."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ..batching import Callback
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import SVDOperator
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid
from .base import Guidance, Method
from .mmps import MMPS

__all__ = ["TwistedSMC", "ess", "resample"]


@dataclass(frozen=True, kw_only=True)
class TwistedSMC(Method[Likelihood[Any]]):
    """Particles x_s ~ q(x_s | x_t, y) of weight p(x_s | x_t) g_s(x_s) / (q(x_s | x_t, y) g_t(x_t)).

    The twist g_s is p(y) under x_0 ~ N(E[x_0 | x_s], r_s^2), with r_s^2 as in PiGDM, where noise is
    Gaussian and A has an SVD, p(y | E[x_0 | x_s])^(1 - s) elsewhere. It ends at p(y | x_0) itself,
    so that, whatever the proposal, the particles converge to the posterior as their number grows,
    up to the error of the time steps. "Practical and Asymptotically Exact Conditional Sampling in
    Diffusion Models", https://arxiv.org/abs/2306.17775.

    Arguments:
        proposal: The guidance whose kernels propose. One that overshoots leaves one particle: DPS
            wants a zeta of 1e-3 here.
        steps: Steps of the chain.
        grid: How its times are spaced.
        threshold: Particles are resampled when their effective number falls below this share.
        var: Variance of an entry of x_0, for the twist.
    """

    proposal: Guidance[Any] = field(default_factory=MMPS)
    steps: int = 200
    grid: Grid = "logsnr"
    threshold: float = 0.5
    var: float = 1.0

    joint: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[type, type, type]:
        return self.proposal.needs

    def run(
        self,
        prior: Prior,
        likelihood: Likelihood[Any],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        x, log_w = self.particles(prior, likelihood, x_T, noise, callback)
        return x[resample(log_w, noise)]

    def particles(
        self,
        prior: Prior,
        likelihood: Likelihood[Any],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the last particles, one population, and their log-weights, of shape ``(N,)``."""
        times = grid(prior.diffusion.schedule, self.grid, self.steps, self.start_time(prior))
        x, x_0 = x_T, prior(x_T, times[0])
        log_w = twist = x_T.new_zeros(len(x_T))
        for i, (t, s) in enumerate(times.unfold(0, 2, 1)):
            p = prior.diffusion.bridge(x, x_0, t, s)
            q = self.proposal.kernel(prior, likelihood, x, t, s, 1.0)
            x = q.sample(noise)
            x_0 = prior(x, s) if s > 0 else x
            old, twist = twist, self.twist(prior, likelihood, x_0, s)
            log_w = log_w + p.log_prob(x) - q.log_prob(x) + twist - old
            if ess(log_w) < self.threshold * len(x):
                k = resample(log_w, noise)
                x, x_0, twist, log_w = x[k], x_0[k], twist[k], torch.zeros_like(log_w)
            if callback is not None:
                callback(x, (i + 1) / self.steps)
        return x, log_w

    def twist(self, prior: Prior, likelihood: Likelihood[Any], x_0: Tensor, s: Tensor) -> Tensor:
        """Return log g_s, up to a constant, given E[x_0 | x_s]; at s = 0 it is log p(y | x_0)."""
        gaussian = isinstance(likelihood, GaussianLikelihood)
        if gaussian and isinstance(likelihood.operator, SVDOperator) and s > 0:
            q = prior.diffusion.schedule.ratio(s) ** 2
            known = cast(GaussianLikelihood[SVDOperator], likelihood)
            return known.evidence(x_0, self.var * q / (self.var + q))
        return (1 - s) * likelihood.log_prob(x_0)


def ess(log_w: Tensor) -> Tensor:
    """Return the effective number of particles, 1 / sum w^2, of log-weights ``(N,)``."""
    return 1 / log_w.softmax(0).square().sum()


def resample(log_w: Tensor, noise: Noise) -> Tensor:
    """Return N indices drawn by weight, systematically: one uniform number, N even strides."""
    n = len(log_w)
    u = noise.rows([0]).uniform(log_w.new_empty(1, 1))[0]
    points = (u + torch.arange(n, device=log_w.device)) / n
    return torch.searchsorted(log_w.softmax(0).cumsum(0), points.to(log_w)).clamp_max(n - 1)
