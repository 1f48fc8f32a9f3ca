"""Consistency training (Song et al., 2023): where the flow ends, learned from data alone."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ..validation import ANYWHERE, Positive
from ._ends import Ends
from .base import Batch, Denoiser, column, earlier

__all__ = ["ConsistencyTraining"]


@dataclass(frozen=True, kw_only=True)
class ConsistencyTraining(Ends):
    """E d(f_theta(x_0 + sigma_t eps, t), f_theta(x_0 + sigma_s eps, s)), s = t - 1/N, one eps.

    N doubles in the course of the run, from ``first`` to ``last``. The noise levels are log-normal.
    "Consistency Models" (Song et al., 2023), algorithm 3, https://arxiv.org/abs/2303.01469; the
    laws of N and of the noise levels are those of "Improved Techniques for Training Consistency
    Models" (Song and Dhariwal, 2024), https://arxiv.org/abs/2310.14189.

    Arguments:
        first, last: N at the beginning and at the end.
        p_mean: Mean of the logarithm of the noise level.
        p_std: Standard deviation of it.
    """

    first: int = 10
    last: int = 160
    p_mean: Annotated[float, ANYWHERE] = -1.1
    p_std: Positive = 2.0

    def times(self, u: Tensor) -> Tensor:
        normal = torch.special.ndtri(u.double().clamp(1e-4, 1 - 1e-4))
        return self.parameterization(1.0).schedule.time((self.p_mean + self.p_std * normal).exp())

    def steps(self, progress: float) -> int:
        """Return N at a share of the run in [0, 1]."""
        stages = math.floor(math.log2(max(self.last / self.first, 1))) + 1
        return min(self.first << math.floor(progress * stages), self.last)

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        steps = self.steps(batch.progress)
        t = (batch.t * steps).ceil().clamp(1, steps) / steps
        s = earlier(t, steps)
        late, early = (
            batch.x_0 + column(denoiser.schedule(v)[1], batch.x_0) * batch.noise for v in (t, s)
        )
        return self.distances(denoiser, (late, t), (early, s))
