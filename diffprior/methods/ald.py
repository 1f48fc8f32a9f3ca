"""ALD (Jalal et al., 2021): Langevin steps with a likelihood that sharpens as the noise falls."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import Operator
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid
from .base import Method

__all__ = ["ALD"]


@dataclass(frozen=True, kw_only=True)
class ALD(Method[GaussianLikelihood[Any]]):
    """x + h (score(x) + A^T (y - A x) / (sigma^2 + gamma_t^2)) + sqrt(2 h) eps, h = step r_t^2.

    x stands for x_t / alpha_t, whose noise is r_t = sigma_t / alpha_t; gamma_t = gamma r_t is what
    A makes of that noise. Any differentiable A, its gradient in place of A^T. Exact in the limit
    of many ``steps`` and ``repeats`` and a small ``step``, heuristic before it. The last state is
    denoised once more. The step from a level to the next, r_s, is at least as long as an ancestral
    one, h = r_t^2 - r_s^2, and draws noise of variance r_s^2 - (r_t - h / r_t)^2, so that few
    levels will do: "Adversarial Score Matching and Improved Sampling for Image Generation",
    https://arxiv.org/abs/2009.05475.
    "Robust Compressed Sensing MRI with Deep Generative Priors", eq. 3,
    https://arxiv.org/abs/2108.01368.

    Arguments:
        steps: Noise levels; the paper has 2311.
        repeats: Langevin steps at each.
        step: Their size, beside r_t^2; an A of norm n wants less than 2 / (1 + (n / gamma)^2).
        gamma: Noise of a level in y, beside r_t: the norm of A, where that is not about 1.
        grid: How the levels are spaced.
    """

    steps: int = 300
    repeats: int = 1
    step: float = 0.3
    gamma: float = 1.0
    grid: Grid = "time"

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, Operator

    def run(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[Any],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        schedule = prior.diffusion.schedule
        times = grid(schedule, self.grid, max(self.steps - 1, 1), self.start_time(prior))
        x = x_T / schedule(times[0])[0]
        for i, t in enumerate(times[: self.steps]):
            alpha_t, sigma_t = schedule(t)
            r_t = sigma_t / alpha_t
            total = math.hypot(likelihood.sigma, self.gamma * float(r_t))
            annealed = replace(likelihood, sigma=total)
            for k in range(self.repeats):
                last = k == self.repeats - 1 and i < self.steps - 1
                step, var = self.move(r_t, schedule.ratio(times[i + 1]) if last else None)
                score = (prior(alpha_t * x, t) - x) / r_t**2 + annealed.score(x)
                x = x + step * r_t**2 * score + var.sqrt() * noise.normal(x)
            if callback is not None:
                callback(x, (i + 1) / self.steps)
        return prior(alpha_t * x, t)

    def move(self, r_t: Tensor, r_s: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return h / r_t^2 and the variance of the noise; r_s is the next level, where it is."""
        if r_s is None:
            return torch.full_like(r_t, self.step), 2 * self.step * r_t**2
        step = (1 - (r_s / r_t) ** 2).clamp_min(self.step)
        return step, (r_s**2 - ((1 - step) * r_t) ** 2).clamp_min(0)
