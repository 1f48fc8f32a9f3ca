"""Dormand and Prince's Runge-Kutta pair (1980) on the flow: each row takes the steps it needs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..densities.ode import ERROR, NODES, STAGES
from ..priors.base import Prior
from ._halving import Halving, Trial, scaled_error

__all__ = ["RK45"]

INNER = NODES[1:-2]  # shares of a step, before its end


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

        inner = schedule.time(r_t + h * h.new_tensor(INNER))
        times = (*inner, ends[1], ends[1])
        slopes = [slope(z, ends[0]) if carry is None else carry]
        for weights, t in zip(STAGES, times, strict=True):
            end = z + h * _weighted(weights, slopes)
            slopes.append(slope(end, t))
        error = h * _weighted(ERROR, slopes)
        size = torch.maximum(z.abs(), end.abs())
        return Trial(end, scaled_error(error, size, self.atol, self.rtol), slopes[-1])


def _weighted(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    return torch.stack([w * k for w, k in zip(weights, slopes, strict=True)]).sum(0)
