"""PNDM (Liu et al., 2022): Adams-Bashforth on the noise, carried over by the step of DDIM."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ._exponential import Point, integrate, noise_of, noise_step
from .base import Sampler

__all__ = ["PNDM"]

Carry = tuple[Point, ...]  # noise of the last steps, the newest first
FOUR = 4  # estimates of the multistep


@dataclass(frozen=True, kw_only=True)
class PNDM(Sampler):
    """The step of DDIM with (55 e_1 - 59 e_2 + 37 e_3 - 9 e_4) / 24 for the noise.

    e_1 is the newest estimate; where the times are not even the weights are those of the cubic
    through the four. It is of second order, as DDIM's step takes the noise as constant. The first
    three steps are pseudo Runge-Kutta, of four calls each; without ``warm_up`` they have as many
    estimates as there are (PLMS). It is for schedules such as DDPM's: where sigma / alpha falls by
    a large factor in a step, extrapolation magnifies errors. "Pseudo Numerical Methods for
    Diffusion Models on Manifolds", https://arxiv.org/abs/2202.09778.

    Arguments:
        warm_up: Whether the first three steps are Runge-Kutta.
    """

    steps: int = 50
    warm_up: bool = True

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

        def look(x: Tensor, u: Tensor) -> Tensor:
            return noise_of(schedule, x, prior(x, u), u)

        def go(eps: Tensor, u: Tensor) -> Tensor:
            return noise_step(schedule, x_t, [Point(eps, 0.0)], t, u)

        e_1 = look(x_t, t)
        points = (Point(e_1, float(t)), *(carry or ()))[:FOUR]
        if self.warm_up and len(points) < FOUR and s > 0:
            middle = torch.lerp(t, s, 0.5)
            e_2 = look(go(e_1, middle), middle)
            e_3 = look(go(e_2, middle), middle)
            e_4 = look(go(e_3, s), s)
            return go((e_1 + 2 * e_2 + 2 * e_3 + e_4) / 6, s), points
        start, end = float(t), float(s)
        return go(integrate(points, start, end, 0.0) / (end - start), s), points
