"""DPM-Solver++ (Lu et al., 2022): second or third order from one call a step and a memory."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from ..bands import put_down
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid
from ..validation import Share, Within
from ._exponential import Point, data_step, log_snr
from .base import Sampler

__all__ = ["DPM"]

Carry = tuple[Point, ...]  # E[x_0] of the last steps, the newest first


@dataclass(frozen=True, kw_only=True)
class DPM(Sampler):
    """x_s = (sigma_s / sigma_t) x_t - alpha_s (e^-h - 1) D, with h = lambda_s - lambda_t.

    lambda = log(alpha / sigma). D extrapolates the last estimates of x_0 in lambda over the step:
    linearly to its middle for order 2 (2M), and for order 3 by the parabola through three of them,
    integrated exactly (3M). The first steps, and the last to t = 0, are of lower order.
    With ``eta`` the step draws noise, as SDE-DPM-Solver++ does at eta = 1.
    https://arxiv.org/abs/2211.01095, algorithm 2 and app. B.

    Arguments:
        order: 1 (DDIM), 2 or 3.
        eta: Share of the noise of the reverse SDE; 0 is the flow.
    """

    steps: int = 30
    grid: Grid = "logsnr"
    order: Annotated[int, Within(1, 3)] = 2
    eta: Share = 0.0

    @property
    def draws(self) -> bool:
        return self.eta > 0

    def step(
        self,
        prior: Prior,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        carry: Carry | None,
        noise: Noise | None,
    ) -> tuple[Tensor, Carry]:
        schedule = prior.diffusion.schedule
        x_0 = put_down(prior(x_t, t))  # it waits for the next step
        points = (Point(x_0, log_snr(schedule, t)), *(carry or ()))[: self.order]
        used = points if s > 0 else points[:1]
        mean, std = data_step(schedule, x_t, used, t, s, self.eta)
        if self.eta == 0:
            return mean, points
        return mean + std * self.stream(noise).normal(mean), points
