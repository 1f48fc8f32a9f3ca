"""DPM-Solver++ 2M (Lu et al., 2022): second order from one call a step and a memory."""

from dataclasses import dataclass

from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid
from .base import Sampler

__all__ = ["DPM"]

Carry = tuple[Tensor, Tensor]  # E[x_0] of the last step, and its log-SNR


@dataclass(frozen=True, kw_only=True)
class DPM(Sampler):
    """x_s = (sigma_s / sigma_t) x_t - alpha_s (e^-h - 1) D, with h = lambda_s - lambda_t.

    lambda = log(alpha / sigma). D extrapolates the estimates of x_0 linearly in lambda to the
    middle of the step; the first step, and the last to t = 0, are of first order.
    https://arxiv.org/abs/2211.01095, algorithm 2.
    """

    steps: int = 30
    grid: Grid = "logsnr"

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
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        lambda_t = (alpha_t / sigma_t).log()
        h = (alpha_s / sigma_s).log() - lambda_t
        x_0 = D = prior(x_t, t)
        if carry is not None and s > 0:
            before, lambda_before = carry
            D = x_0 + h / (lambda_t - lambda_before) / 2 * (x_0 - before)
        return sigma_s / sigma_t * x_t - alpha_s * (-h).expm1() * D, (x_0, lambda_t)
