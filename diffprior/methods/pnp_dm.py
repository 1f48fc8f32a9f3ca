"""PnP-DM (Wu et al., 2024): a Gibbs sampler that draws from the data and the prior in turn."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..likelihoods.base import Likelihood
from ..likelihoods.data_step import Inner, draw
from ..operators.base import Operator
from ..priors.base import Prior
from ..random import Noise
from ..samplers.ancestral import Ancestral
from ..samplers.base import Sampler
from ..validation import Positive
from .base import Method, Needs, Posterior

__all__ = ["PnPDM"]


@dataclass(frozen=True, kw_only=True)
class PnPDM(Method[Likelihood[Any]]):
    """z ~ N(x, rho^2) p(y | z), then x ~ p(x) N(z; x, rho^2), the prior's own chain from z.

    At a fixed rho it converges to p(x) int N(z; x, rho^2) p(y | z) dz, which tends to the posterior
    as rho falls: for Gaussian noise and a linear A, exact for noise sigma^2 + rho^2 A A^T.
    "Principled Probabilistic Imaging using Diffusion Models as Plug-and-Play Priors",
    https://arxiv.org/abs/2405.18782.

    The defaults are those of InverseBench for natural images; its grid of 100 steps a chain has
    about 20 below rho = 0.1.

    Arguments:
        steps: Rounds; the first is a draw from the prior.
        rho: First and last coupling, in units of the state.
        anneal: Share of the rounds over which rho falls, geometrically; then it stays.
        sampler: The prior's chain. It has to be stochastic: a flow gives no sample of x given z.
        inner: The draw of z: ``exact``, ``langevin`` or ``hmc``. By default exact for Gaussian
            noise and a linear A, Langevin elsewhere.
        iterations: Scores that a draw by ``langevin`` or ``hmc`` computes.
    """

    steps: int = 200
    rho: tuple[Positive, Positive] = (10.0, 0.1)
    anneal: Positive = 0.22
    sampler: Sampler = field(default_factory=lambda: Ancestral(steps=20, grid="karras"))
    inner: Inner | None = None
    iterations: int = 100

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, Likelihood, Operator)

    def levels(self, prior: Prior) -> Tensor:
        """Return rho of each round but the first, float64, at most the level of the start."""
        first, last = self.rho
        share = torch.arange(self.steps - 1, dtype=torch.float64) / (self.anneal * self.steps)
        begin = torch.tensor(self.start_time(prior), dtype=torch.float64)
        rho = first * (last / first) ** share.clamp_max(1)
        return torch.minimum(rho, prior.diffusion.schedule.ratio(begin))

    def run(self, p: Posterior[Any], x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        levels = self.levels(p.prior)
        x = self.sampler(p.prior, x_T, noise, start=self.start_time(p.prior))
        callback(x, 1 / self.steps)
        for i, (rho, t) in enumerate(zip(levels, p.schedule.time(levels), strict=True), 2):
            z = draw(p.likelihood, x, rho**2, noise, self.inner, self.iterations)
            x = self.sampler(p.prior, p.schedule(t)[0] * z, noise, start=t)
            callback(x, i / self.steps)
        return x
