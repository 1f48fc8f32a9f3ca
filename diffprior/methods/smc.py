"""Twisted SMC (Wu et al., 2023): guided kernels propose, weights correct, for any diffusion."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ..batching import Callback
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import SVDOperator
from ..random import Noise
from .base import ChainMethod, Guidance, Needs, Posterior
from .mmps import MMPS

__all__ = ["TwistedSMC", "ess", "resample"]


@dataclass(frozen=True, kw_only=True)
class TwistedSMC(ChainMethod[Likelihood[Any]]):
    """Particles x_s ~ q(x_s | x_t, y) of weight p(x_s | x_t) g_s(x_s) / (q(x_s | x_t, y) g_t(x_t)).

    The twist g_s is p(y) under x_0 ~ N(E[x_0 | x_s], r_s^2), with r_s^2 as in PiGDM, where noise is
    Gaussian and A has an SVD, p(y | E[x_0 | x_s])^(1 - s) elsewhere. It ends at p(y | x_0) itself,
    so that, whatever the proposal, the particles converge to the posterior as their number grows,
    up to the error of the time steps. "Practical and Asymptotically Exact Conditional Sampling in
    Diffusion Models", https://arxiv.org/abs/2306.17775.

    Arguments:
        proposal: The guidance whose kernels propose. One that overshoots leaves one particle: DPS
            needs a zeta of about 1e-3 here.
        threshold: Particles are resampled when their effective number falls below this share.
        var: Variance of an entry of x_0, for the twist.
    """

    proposal: Guidance[Any] = field(default_factory=MMPS)
    threshold: float = 0.5
    var: float = 1.0

    joint: ClassVar[bool] = True

    @property
    def needs(self) -> Needs:
        return self.proposal.needs

    def run(self, p: Posterior[Any], x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        x, log_w = self.particles(p, x_T, noise, callback)
        return x[resample(log_w, noise)]

    def particles(
        self, p: Posterior[Any], x_T: Tensor, noise: Noise, callback: Callback
    ) -> tuple[Tensor, Tensor]:
        """Return the last particles, one population, and their log-weights, of shape ``(N,)``."""
        x = x_T
        x_0 = p.prior(x_T, self.times(p.prior)[0])
        log_w = twist = x_T.new_zeros(len(x_T))
        for t, s, report in self.chain(p.prior, callback):
            reverse = p.diffusion.bridge(x, x_0, t, s)
            proposal = self.proposal.kernel(p, x, t, s, 1.0)
            x = proposal.sample(noise)
            x_0 = p.prior(x, s) if s > 0 else x
            old = twist
            twist = self.twist(p, x_0, s)
            log_w = log_w + reverse.log_prob(x) - proposal.log_prob(x) + twist - old
            if ess(log_w) < self.threshold * len(x):
                k = resample(log_w, noise)
                x = x[k]
                x_0 = x_0[k]
                twist = twist[k]
                log_w = torch.zeros_like(log_w)
            report(x)
        return x, log_w

    def twist(self, p: Posterior[Any], x_0: Tensor, s: Tensor) -> Tensor:
        """Return log g_s, up to a constant, given E[x_0 | x_s]; at s = 0 it is log p(y | x_0)."""
        gaussian = isinstance(p.likelihood, GaussianLikelihood)
        if gaussian and isinstance(p.likelihood.operator, SVDOperator) and s > 0:
            q = p.schedule.ratio(s) ** 2
            likelihood = cast(GaussianLikelihood[SVDOperator], p.likelihood)
            return likelihood.evidence(x_0, self.var * q / (self.var + q))
        log_p: Tensor = p.likelihood.log_prob(x_0)
        return (1 - s) * log_p


def ess(log_w: Tensor) -> Tensor:
    """Return the effective number of particles, 1 / sum w^2, of log-weights ``(N,)``."""
    return 1 / log_w.softmax(0).square().sum()


def resample(log_w: Tensor, noise: Noise) -> Tensor:
    """Return N indices drawn by weight, systematically: one uniform number, N even strides."""
    n = len(log_w)
    u = noise.rows([0]).uniform(log_w.new_empty(1, 1))[0]
    points = (u + torch.arange(n, device=log_w.device)) / n
    return torch.searchsorted(log_w.softmax(0).cumsum(0), points.to(log_w)).clamp_max(n - 1)
