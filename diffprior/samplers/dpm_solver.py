"""DPM-Solver (Lu et al., 2022): one, two or three looks at the noise within each step."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid
from ..validation import Within
from ._exponential import Point, log_snr, noise_of, noise_step
from .base import Sampler

__all__ = ["DPMSolver"]


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Sampler):
    """DPM-Solver-1, -2 and -3: exponential Runge-Kutta of the flow, ``order`` calls a step.

    Order 1 is DDIM; order 2 looks at the middle of the step in log-SNR, order 3 at its thirds. The
    last step, to t = 0, is of first order and takes one call. "DPM-Solver: A Fast ODE Solver for
    Diffusion Probabilistic Model Sampling in Around 10 Steps", https://arxiv.org/abs/2206.00927.

    Arguments:
        order: 1, 2 or 3.
    """

    steps: int = 10
    grid: Grid = "logsnr"
    order: Annotated[int, Within(1, 3)] = 3

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        schedule = prior.diffusion.schedule

        def look(x: Tensor, u: Tensor) -> Point:
            return Point(noise_of(schedule, x, prior(x, u), u), log_snr(schedule, u))

        first = look(x_t, t)
        if self.order == 1 or s == 0:
            return noise_step(schedule, x_t, [first], t, s), None
        shares = torch.arange(1, self.order, dtype=torch.float64) / self.order
        ends = schedule.ratio(torch.stack([t, s])).log()
        points = [first]
        for u in schedule.time(torch.lerp(ends[0], ends[1], shares.to(ends)).exp()):
            points = [look(noise_step(schedule, x_t, points, t, u), u), first]
        if self.order == 2:
            return noise_step(schedule, x_t, points[:1], t, s), None
        return noise_step(schedule, x_t, points, t, s), None
