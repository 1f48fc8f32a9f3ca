"""Moment-matched SMC: one Gaussian of y given x_t proposes and weighs particles, for few y."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator
from ..priors.base import denoise_vjp
from ..random import Noise
from .base import ChainMethod, LinearGaussian, LinearPosterior, Needs
from .smc import ess, resample

__all__ = ["MomentSMC"]

MOST = 64  # measured numbers: each costs a vector-Jacobian product a step


@dataclass(frozen=True, kw_only=True)
class MomentSMC(ChainMethod[LinearGaussian]):
    """Particles x_s ~ q(x_s | x_t, y) of weight p(x_s | x_t) g_s(x_s) / (q(x_s | x_t, y) g_t(x_t)).

    The twist is g_t = N(y; A x_0, S) with x_0 = E[x_0 | x_t], S = A V A^T + sigma^2 and Tweedie's
    covariance V = (sigma_t^2 / alpha_t) J^T. The kernels are bridges q(x_s | x_t, .) to
    x_0' = E[x_0 | x_s'] for p and to x_0' + V A^T S^-1 (y - A x_0) for q, with x_s' the
    deterministic step from x_t to s. A step of the flow to the level r_s^2 / r_t, with
    r = sigma / alpha, and noise back up to r_s is the same bridge; x_s' is the midpoint of that
    flow, so that p keeps the law of x_s to second order in the step, and above all the weights of
    far modes. The particles converge to the posterior as their number grows, up to that error;
    for a Gaussian prior hardly any is lost.

    Particles and weights are those of Wu et al. (2023), https://arxiv.org/abs/2306.17775, the
    moments those of MMPS, https://arxiv.org/abs/2405.13712, the midpoint that of DPM-Solver-2,
    https://arxiv.org/abs/2206.00927. A sample costs 2 steps x particles network calls, and
    steps x particles vector-Jacobian products for each number in y.

    Arguments:
        particles: Particles for each sample that is returned; all samples are one population.
        threshold: Particles are resampled when their effective number falls below this share.
    """

    steps: int = 50
    particles: int = 4
    threshold: float = 0.5

    joint: ClassVar[bool] = True
    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, LinearOperator)

    def run(self, p: LinearPosterior, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        copies = torch.arange(len(x_T)).repeat_interleave(self.particles)
        first = self.moments(p, x_T, self.times(p.prior)[0])
        x, x_0, shift, twist = (v[copies.to(v.device)] for v in (x_T, *first))
        p = p.select(copies)
        noise = noise.rows(copies.tolist())
        log_w = twist
        for t, s, report in self.chain(p.prior, callback):
            if ess(log_w) < self.threshold * len(x):
                k = resample(log_w, noise)
                x, x_0, shift, twist = x[k], x_0[k], shift[k], twist[k]
                log_w = torch.zeros_like(log_w)
            if s > 0:
                x_0 = p.prior(p.diffusion.bridge(x, x_0, t, s, eta=0.0).mean, s)
            reverse = p.diffusion.bridge(x, x_0, t, s)
            proposal = p.diffusion.bridge(x, x_0 + shift, t, s)
            x = proposal.sample(noise)
            old = twist
            if s > 0:
                x_0, shift, twist = self.moments(p, x, s)
            else:
                twist = p.likelihood.log_prob(x)
            log_w = log_w + reverse.log_prob(x) - proposal.log_prob(x) + twist - old
            report(x[:: self.particles])
        return x[resample(log_w, noise)[:: self.particles]]

    def moments(self, p: LinearPosterior, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x_0, V A^T S^-1 (y - A x_0), and log g_t up to a constant."""
        alpha_t, sigma_t = p.schedule(t)
        A = p.likelihood.operator
        x_0, vjp = denoise_vjp(p.prior, x_t, t)
        r = p.likelihood.residual(x_0)
        if r[0].numel() > MOST:
            raise ValueError(f"MomentSMC weighs {MOST} numbers at most, y has {r[0].numel()}")
        basis = torch.eye(r[0].numel(), dtype=r.dtype, device=r.device)
        basis = basis.reshape(-1, 1, *r.shape[1:])
        rows = [sigma_t**2 / alpha_t * vjp(A.adjoint(e.expand_as(r))) for e in basis]
        AVA = torch.stack([A(row).flatten(1) for row in rows], 1)
        var, Q = torch.linalg.eigh((AVA + AVA.mT) / 2)
        S = var.clamp_min(0) + p.likelihood.sigma**2  # a network's V is not quite a covariance
        z = torch.einsum("bij,bi->bj", Q, r.flatten(1))
        v = torch.einsum("bij,bj->bi", Q, z / S)
        shift = torch.einsum("bi,ib...->b...", v, torch.stack(rows))
        return x_0, shift, -(z**2 / S + S.log()).sum(1) / 2
