"""Restart (Xu et al., 2023): noise is added again, and the flow is solved down once more."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid, pairs
from ..validation import Positive, Whole
from .base import Sampler
from .heun import Heun

__all__ = ["Restart"]


@dataclass(frozen=True, kw_only=True)
class Restart(Sampler):
    """A solver of the flow that goes up again from noise ``low`` to ``high``, ``repeats`` times.

    The way up is a jump of the forward diffusion, whose fresh noise contracts the error that the
    solver has made so far. "Restart Sampling for Improving Generative Processes",
    https://arxiv.org/abs/2306.14878.

    Arguments:
        solver: A solver of the flow; of its settings, steps and grid are those of this one, and
            its steps are ``inner`` on each way down.
        low, high: Noise sigma / alpha of states in [-1, 1] from which, and up to which, it goes.
        repeats: How often it goes up.
        inner: Steps of each way down from there.
    """

    steps: int = 18
    grid: Grid = "karras"
    solver: Sampler = field(default_factory=Heun)
    low: Positive = 0.06
    high: Positive = 0.3
    repeats: Whole = 2
    inner: int = 4

    @property
    def draws(self) -> bool:
        return self.repeats > 0 or self.solver.draws

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: Any, noise: Noise | None
    ) -> tuple[Tensor, Any]:
        schedule = prior.diffusion.schedule
        x, carry = self.solver.with_steps(self.steps).step(prior, x_t, t, s, carry, noise)
        top = schedule.time(self.high)
        if not schedule.ratio(s) <= self.low < schedule.ratio(t) or top <= s:
            return x, carry
        down = self.solver.with_steps(self.inner)
        for _ in range(self.repeats):
            x = prior.diffusion.jump(x, s, top).sample(self.stream(noise))
            carry = None
            for u, v in pairs(grid(schedule, self.grid, self.inner, top, s)):
                x, carry = down.step(prior, x, u, v, carry, noise)
        return x, carry
