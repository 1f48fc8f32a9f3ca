"""DAPS (Zhang et al., 2024): draw a clean image, then noise it again, level by level."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from ..batching import Callback, progress
from ..diffusions import GaussianDiffusion
from ..likelihoods.base import Likelihood
from ..likelihoods.data_step import Inner, draw
from ..operators.base import Operator
from ..random import Noise
from ..samplers.base import Sampler
from ..samplers.ddim import DDIM
from ..schedules import grid
from ..validation import Positive
from .base import Method, Needs, Posterior

__all__ = ["DAPS"]


@dataclass(frozen=True, kw_only=True)
class DAPS(Method[Likelihood[Any]]):
    """x_0 ~ N(flow(x_t), r_t^2) p(y | x_0), then x_s ~ q(x_s | x_0), for falling levels t > s.

    r_t^2 = var q / (var + q), with q = (sigma_t / alpha_t)^2. It works with any likelihood that
    has a score, also behind a decoder. Exact for images N(m, var I) when the flow is one step,
    which gives E[x_0 | x_t]; heuristic otherwise. "Improving Diffusion Inverse Problem Solving with
    Decoupled Noise Annealing", https://arxiv.org/abs/2407.01521.

    The paper has 200 levels down to 0.1, a flow of 5 steps, and r_t^2 = q, which var = 1e12 gives;
    its chains stop long before equilibrium. Draws from that law leave noise of r_t in everything
    that is not measured: hence the defaults for ``stop``, ``flow`` and ``var``, which suit images.
    For latents of unit variance set var to 1.

    Arguments:
        steps: Noise levels, spaced as by Karras et al. (2022), from the start of the chain.
        stop: The last noise level, in units of the state: what is not measured keeps this much.
        flow: The steps from x_t to the estimate of x_0, as in ``ddim(steps=5, grid='karras')``.
        inner: The draw of x_0: ``exact``, ``langevin`` or ``hmc``. By default exact for Gaussian
            noise and a linear A, Langevin elsewhere.
        iterations: Scores that a draw by ``langevin`` or ``hmc`` computes.
        var: Variance of an entry of x_0 given its neighbors, in its units squared.
    """

    steps: int = 200
    stop: Positive = 0.01
    flow: Sampler = field(default_factory=lambda: DDIM(steps=1))
    inner: Inner | None = None
    iterations: int = 100
    var: Positive = 0.01

    noise_levels: ClassVar[tuple[str, ...]] = ("start", "stop")
    needs: ClassVar[Needs] = Needs(GaussianDiffusion, Likelihood, Operator)

    def run(self, p: Posterior[Any], x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        start = self.start_time(p.prior)
        end = p.schedule.time(self.stop)
        times = grid(p.schedule, "karras", max(self.steps - 1, 1), start, end)
        x_0 = x_T
        for i, (t, report) in enumerate(progress(times[: self.steps].unbind(), callback)):
            x_t = p.diffusion.noise(x_0, t).sample(noise) if i > 0 else x_T
            x_0 = self.flow(p.prior, x_t, noise, start=t)
            r2 = 1 / (p.schedule.ratio(t) ** -2 + 1 / self.var)
            x_0 = draw(p.likelihood, x_0, r2, noise, self.inner, self.iterations)
            report(x_0)
        return x_0
