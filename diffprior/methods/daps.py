"""DAPS (Zhang et al., 2024): clean images are drawn, and renoised, level by level."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..likelihoods.base import Likelihood
from ..likelihoods.data_step import Inner, draw
from ..operators.base import Operator
from ..priors.base import Prior
from ..random import Noise
from ..samplers.base import Sampler
from ..samplers.ddim import DDIM
from ..schedules import grid
from ..validation import Positive
from .base import Method

__all__ = ["DAPS"]


@dataclass(frozen=True, kw_only=True)
class DAPS(Method[Likelihood[Any]]):
    """x_0 ~ N(flow(x_t), r_t^2) p(y | x_0), then x_s ~ q(x_s | x_0), for falling levels t > s.

    r_t^2 = var q / (var + q), with q = (sigma_t / alpha_t)^2. Any likelihood with a score, also
    behind a decoder. Exact for images N(m, var I) when the flow is one step, which gives
    E[x_0 | x_t]; heuristic otherwise. "Improving Diffusion Inverse Problem Solving with Decoupled
    Noise Annealing", https://arxiv.org/abs/2407.01521.

    The paper has 200 levels down to 0.1, a flow of 5 steps, and r_t^2 = q, which var = 1e12 is; its
    chains are left long before equilibrium. Draws from that law leave noise of r_t in all that is
    unseen: hence the defaults for ``stop``, ``flow`` and ``var``, which suit images; latents of
    unit variance want a var of 1.

    Arguments:
        steps: Noise levels, spaced as by Karras et al. (2022), from the chain's beginning.
        stop: The last noise level, in units of the state: what is unseen keeps this much noise.
        flow: The steps from x_t to the estimate of x_0, as in ``ddim(steps=5, grid='karras')``.
        inner: The draw of x_0: ``exact``, ``langevin`` or ``hmc``; by default exact for Gaussian
            noise behind a linear A, Langevin elsewhere.
        iterations: Scores that a draw by ``langevin`` or ``hmc`` asks for.
        var: Variance of an entry of x_0 that its neighbors leave open, in its units squared.
    """

    steps: int = 200
    stop: Positive = 0.01
    flow: Sampler = field(default_factory=lambda: DDIM(steps=1))
    inner: Inner | None = None
    iterations: int = 100
    var: Positive = 0.01

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, Likelihood, Operator

    def run(
        self,
        prior: Prior,
        likelihood: Likelihood[Any],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        schedule, x_0 = prior.diffusion.schedule, x_T
        end = schedule.time(self.stop)
        times = grid(schedule, "karras", max(self.steps - 1, 1), self.start_time(prior), end)
        for i, t in enumerate(times[: self.steps]):
            x_t = prior.diffusion.noise(x_0, t).sample(noise) if i else x_T
            x_0 = self.flow(prior, x_t, noise, start=t)
            r2 = 1 / (schedule.ratio(t) ** -2 + 1 / self.var)
            x_0 = draw(likelihood, x_0, r2, noise, self.inner, self.iterations)
            if callback is not None:
                callback(x_0, (i + 1) / self.steps)
        return x_0
