"""RED-diff (Mardani et al., 2023): one image, pulled by data and denoisers of all levels."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator, Operator
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid
from .base import Method

__all__ = ["REDDiff"]


@dataclass(frozen=True, kw_only=True)
class REDDiff(Method[GaussianLikelihood[Any]]):
    """Adam on mu along g = weight (mu - x_0(x_t)) + n / m A^T (A mu - y), for falling t.

    x_t = alpha_t mu + sigma_t eps with fresh eps, n is the size of mu and m that of y. The first
    term is weight (sigma_t / alpha_t) (eps(x_t) - eps): the paper's linear weight in SNR; both are
    gradients of means over entries, as in the authors' code.
    Any differentiable A. Heuristic: it seeks a mode, and does not know sigma. "A Variational
    Perspective on Solving Inverse Problems with Diffusion Models", algorithm 1,
    https://arxiv.org/abs/2305.04391.

    Begins with E[x | y] under x ~ N(0, I), which is A^+ y for exact data; with E[x_0] where A is
    not linear. Defaults are the authors'.

    Arguments:
        steps: Steps of Adam, one call of the prior each.
        rate: Step size of Adam (lr).
        betas: Its memories of the gradient and of its square.
        weight: Trust in the prior (lambda).
        grid: How the times are spaced.
    """

    steps: int = 100
    rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    weight: float = 0.25
    grid: Grid = "time"

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, Operator

    def noised(self, prior: Prior, x_0: Tensor, noise: Noise) -> Tensor:
        return x_0

    def first(
        self, prior: Prior, likelihood: GaussianLikelihood[Any], x_T: Tensor, t: Tensor
    ) -> Tensor:
        """Return the first mu."""
        if self.start is not None:
            return x_T
        if isinstance(likelihood.operator, LinearOperator):
            return likelihood.condition(torch.zeros_like(x_T), 1.0)
        return prior(x_T, t)

    def run(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[Any],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        times = grid(prior.diffusion.schedule, self.grid, self.steps, self.start_time(prior))
        data, (b, c) = replace(likelihood, sigma=1.0), self.betas
        count = likelihood.operator.mask_unmeasured(torch.ones_like(likelihood.y)).flatten(1).sum(1)
        share = x_T[0].numel() / count.clamp_min(1).reshape(-1, *(1,) * (x_T.ndim - 1))
        mu = self.first(prior, likelihood, x_T, times[0])
        m = v = torch.zeros_like(mu)
        for i, t in enumerate(times[:-1], 1):
            x_0 = prior(prior.diffusion.noise(mu, t).sample(noise), t)
            g = self.weight * (mu - x_0) - share * data.score(mu)
            m, v = b * m + (1 - b) * g, c * v + (1 - c) * g**2
            mu = mu - self.rate * m / (1 - b**i) / ((v / (1 - c**i)).sqrt() + 1e-8)
            if callback is not None:
                callback(mu, i / self.steps)
        return mu
