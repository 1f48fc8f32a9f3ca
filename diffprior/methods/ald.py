"""ALD (Jalal et al., 2021): Langevin steps with a likelihood that sharpens as the noise falls."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..batching import Callback, progress
from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import Operator
from ..random import Noise
from ..schedules import Grid, grid
from .base import GaussianPosterior, Method, Needs

__all__ = ["ALD"]


@dataclass(frozen=True, kw_only=True)
class ALD(Method[GaussianLikelihood[Any]]):
    """x + h (score(x) + A^T (y - A x) / (sigma^2 + gamma_t^2)) + sqrt(2 h) eps, h = step r_t^2.

    x stands for x_t / alpha_t, whose noise is r_t = sigma_t / alpha_t, and gamma_t = gamma r_t is
    that noise as A passes it on. A is any differentiable operator, with its gradient in place of
    A^T. The last state is denoised once more. Exact in the limit of many ``steps`` and ``repeats``
    and a small ``step``, heuristic before it.
    "Robust Compressed Sensing MRI with Deep Generative Priors", eq. 3,
    https://arxiv.org/abs/2108.01368.

    The step from a level to the next, r_s, is at least as long as an ancestral one, h = r_t^2 -
    r_s^2, and draws noise of variance r_s^2 - (r_t - h / r_t)^2, so that few levels are enough:
    "Adversarial Score Matching and Improved Sampling for Image Generation",
    https://arxiv.org/abs/2009.05475.

    Arguments:
        steps: Noise levels; the paper has 2311.
        repeats: Langevin steps at each level.
        step: Step size in units of r_t^2; for an A of norm n it has to be less than
            2 / (1 + (n / gamma)^2).
        gamma: Noise of a level in y, in units of r_t: the norm of A, where that is not about 1.
        grid: How the levels are spaced.
    """

    steps: int = 300
    repeats: int = 1
    step: float = 0.3
    gamma: float = 1.0
    grid: Grid = "time"

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, Operator)

    def run(self, p: GaussianPosterior, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        times = grid(p.schedule, self.grid, max(self.steps - 1, 1), self.start_time(p.prior))
        levels = times[: self.steps].unbind()
        next_ratios = [*(p.schedule.ratio(s) for s in levels[1:]), None]
        x = x_T / p.schedule(times[0])[0]
        for (t, r_s), report in progress(list(zip(levels, next_ratios, strict=True)), callback):
            alpha_t, sigma_t = p.schedule(t)
            r_t = sigma_t / alpha_t
            total = math.hypot(p.likelihood.sigma, self.gamma * float(r_t))
            annealed = replace(p.likelihood, sigma=total)
            for k in range(self.repeats):
                step, var = self.move(r_t, r_s if k == self.repeats - 1 else None)
                score = (p.prior(alpha_t * x, t) - x) / r_t**2 + annealed.score(x)
                x = x + step * r_t**2 * score + var.sqrt() * noise.normal(x)
            report(x)
        return p.prior(alpha_t * x, t)

    def move(self, r_t: Tensor, r_s: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return h / r_t^2 and the variance of the noise.

        Arguments:
            r_s: The next level; None for a step that stays at r_t.
        """
        if r_s is None:
            return torch.full_like(r_t, self.step), 2 * self.step * r_t**2
        step = (1 - (r_s / r_t) ** 2).clamp_min(self.step)
        return step, (r_s**2 - ((1 - step) * r_t) ** 2).clamp_min(0)
