"""DEIS (Zhang and Chen, 2023): the flow by a polynomial through the last estimates of the noise."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid
from ..validation import Within
from ._exponential import Point, log_snr, noise_of, noise_step
from .base import Sampler

__all__ = ["DEIS"]

Carry = tuple[Point, ...]  # noise of the last steps, the newest first


@dataclass(frozen=True, kw_only=True)
class DEIS(Sampler):
    """x_s = (alpha_s / alpha_t) x_t + alpha_s int eps dr, r = sigma / alpha, from r_t to r_s.

    eps is the polynomial in log r through the last ``order`` estimates (tAB-DEIS in log rho). The
    first steps, and the last to t = 0, are of lower order. One call a step. "Fast Sampling of
    Diffusion Models with Exponential Integrator", https://arxiv.org/abs/2204.13902.

    Arguments:
        order: 1 (DDIM) to 4.
    """

    steps: int = 30
    grid: Grid = "logsnr"
    order: Annotated[int, Within(1, 4)] = 3

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
        eps = noise_of(schedule, x_t, prior(x_t, t), t)
        points = (Point(eps, log_snr(schedule, t)), *(carry or ()))[: self.order]
        return noise_step(schedule, x_t, points if s > 0 else points[:1], t, s), points
