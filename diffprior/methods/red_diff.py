"""RED-diff (Mardani et al., 2023): one image, pulled by the data and by denoisers of all levels."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..likelihoods.base import ConditionableLikelihood
from ..operators.base import LinearOperator, Operator
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid
from ..solvers import per_row
from .base import ChainMethod, Needs, Posterior

__all__ = ["REDDiff"]

P = Posterior[ConditionableLikelihood[Any]]


@dataclass(frozen=True, kw_only=True)
class REDDiff(ChainMethod[ConditionableLikelihood[Any]]):
    """Adam on mu along g = weight (mu - x_0(x_t)) + n / m A^T (A mu - y), for falling t.

    x_t = alpha_t mu + sigma_t eps with fresh eps, n is the size of mu and m that of y. The first
    term is weight (sigma_t / alpha_t) (eps(x_t) - eps): the paper's linear weight in SNR; both are
    gradients of means over entries, as in the authors' code. A is any differentiable operator.
    Heuristic: it seeks a mode, and does not use sigma. "A Variational Perspective on Solving
    Inverse Problems with Diffusion Models", algorithm 1, https://arxiv.org/abs/2305.04391.

    It starts from E[x | y] under x ~ N(0, I), which is A^+ y for exact data, or from E[x_0] where
    A is not linear. The defaults are the authors'. A step of Adam costs one call of the prior.

    Arguments:
        rate: Step size of Adam (lr).
        betas: Decay rates of Adam's averages of the gradient and of its square.
        weight: Trust in the prior (lambda).
    """

    steps: int = 100
    grid: Grid = "time"
    rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    weight: float = 0.25

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, ConditionableLikelihood, Operator)

    def noised(self, prior: Prior, x_0: Tensor, noise: Noise) -> Tensor:
        return x_0

    def first(self, p: P, x_T: Tensor, t: Tensor) -> Tensor:
        """Return the first mu."""
        if self.start is not None:
            return x_T
        if isinstance(p.likelihood.operator, LinearOperator):
            return p.likelihood.condition(torch.zeros_like(x_T), 1.0)
        return p.prior(x_T, t)

    def run(self, p: P, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        share = x_T[0].numel() / per_row(p.likelihood.measured_count(), x_T)
        mu = self.first(p, x_T, self.times(p.prior)[0]).clone()
        adam = torch.optim.Adam([mu], lr=self.rate, betas=self.betas)
        for t, _, report in self.chain(p.prior, callback):
            x_0 = p.prior(p.diffusion.noise(mu, t).sample(noise), t)
            mu.grad = self.weight * (mu - x_0) - share * p.likelihood.descent(mu)
            adam.step()
            report(mu.clone())
        return mu
