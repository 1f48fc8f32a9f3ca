"""UniPC (Zhao et al., 2023): each call predicts a step, and corrects the one before it."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid
from ..validation import Within
from ._exponential import Point, data_step, log_snr
from .base import Sampler

__all__ = ["UniPC"]


class Carry(NamedTuple):
    """What the next step corrects.

    Attributes:
        points: E[x_0] of the last steps, the newest first.
        x, t: The states that the last step began with, and their time.
        predicted: The states that it ended in.
    """

    points: tuple[Point, ...]
    x: Tensor
    t: Tensor
    predicted: Tensor


@dataclass(frozen=True, kw_only=True)
class UniPC(Sampler):
    """DPM-Solver++ as predictor, and the step once more with the estimate at its end.

    The corrector is the polynomial through the estimates of the predictor and the new one, so that
    a step is of order ``order`` + 1 for one call. Of the last step there is the prediction alone.
    "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models",
    https://arxiv.org/abs/2302.04867.

    Arguments:
        order: Of the predictor, 1 to 3.
    """

    steps: int = 20
    grid: Grid = "logsnr"
    order: Annotated[int, Within(1, 3)] = 2

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
        new = Point(prior(x_t, t), log_snr(schedule, t))
        points: tuple[Point, ...] = ()
        if carry is not None:
            points = carry.points
            corrected, _ = data_step(schedule, carry.x, (new, *points), carry.t, t)
            x_t = x_t + (corrected - carry.predicted)  # an edit may have changed x_t
        points = (new, *points)[: self.order]
        x_s, _ = data_step(schedule, x_t, points if s > 0 else points[:1], t, s)
        return x_s, Carry(points, x_t, t, x_s)
