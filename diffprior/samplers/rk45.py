"""Dormand and Prince's Runge-Kutta pair (1980) on the flow: each row takes the steps it needs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..priors.base import Prior
from ._halving import Halving, Trial, scaled_error

__all__ = ["RK45"]

SHARES = (1 / 5, 3 / 10, 4 / 5, 8 / 9)  # of a step, before its end
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERRORS = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


@dataclass(frozen=True, kw_only=True)
class RK45(Halving):
    """dz/dr = (z - E[x_0 | z]) / r by a pair of orders 5 and 4; z = x / alpha, r = sigma / alpha.

    A step is halved for the rows whose error is above ``atol`` + ``rtol`` |z|, so ``steps`` are the
    longest ones, and not how many there are. Six calls a step, and six more for each half. "A
    family of embedded Runge-Kutta formulae", https://doi.org/10.1016/0771-050X(80)90013-3; for
    diffusions https://arxiv.org/abs/2011.13456, sec. 4.3.

    Arguments:
        rtol, atol: Relative and absolute tolerance of a step.
    """

    steps: int = 8

    def attempt(
        self, prior: Prior, z: Tensor, ends: tuple[Tensor, Tensor], carry: Any, drawn: Any
    ) -> Trial:
        schedule = prior.diffusion.schedule
        r_t, r_s = schedule.ratio(torch.stack(ends))
        h = r_s - r_t

        def slope(z: Tensor, t: Tensor) -> Tensor:
            alpha, sigma = schedule(t)
            return (z - prior(alpha * z, t)) / (sigma / alpha)

        inner = schedule.time(r_t + h * h.new_tensor(SHARES))
        times = (*inner, ends[1], ends[1])
        slopes = [slope(z, ends[0]) if carry is None else carry]
        for weights, t in zip(STAGES, times, strict=True):
            end = z + h * _weighted(weights, slopes)
            slopes.append(slope(end, t))
        error = h * _weighted(ERRORS, slopes)
        size = torch.maximum(z.abs(), end.abs())
        return Trial(end, scaled_error(error, size, self.atol, self.rtol), slopes[-1])


def _weighted(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    return torch.stack([w * k for w, k in zip(weights, slopes, strict=True)]).sum(0)
