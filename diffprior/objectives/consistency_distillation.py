"""Consistency distillation (Song et al., 2023): where the flow of a teacher ends, in one call."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ._ends import Ends
from .base import Batch, Denoiser, column, earlier, evenly, taught_by

__all__ = ["ConsistencyDistillation"]


@dataclass(frozen=True, kw_only=True)
class ConsistencyDistillation(Ends):
    """E d(f_theta(x_t, t), f_theta(x_s, s)) with x_s a step of the teacher from x_t, s = t - 1/N.

    The times 1/N, 2/N, ..., 1 are even in sigma^(1/7). The state x_s is that of one step of the
    flow by Heun, or by Euler, which is DDIM. At s = 0 f is the identity, by its form.
    "Consistency Models" (Song et al., 2023), algorithm 2, https://arxiv.org/abs/2303.01469.

    Arguments:
        steps: N.
        solver: ``heun``, two calls of the teacher, or ``euler``, one.
    """

    taught: ClassVar[bool] = True

    steps: int = 18
    solver: Literal["heun", "euler"] = "heun"

    def times(self, u: Tensor) -> Tensor:
        return evenly(u, self.steps)

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        x_t, t = denoiser.noised(batch), batch.t
        s = earlier(t, self.steps)
        return self.distances(denoiser, (x_t, t), (self._earlier(denoiser, x_t, t, s), s))

    def _earlier(self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Return x_s by one step of the flow of the teacher, dx / dsigma = (x - x_0) / sigma."""
        teacher, labels = taught_by(denoiser), denoiser.labels
        levels = [denoiser.schedule(v)[1] for v in (t, s)]
        high, low = (column(level, x_t) for level in levels)
        slope = (x_t - teacher.at_level(x_t, levels[0], labels)) / high
        x_s = x_t + (low - high) * slope
        if self.solver == "euler":
            return x_s
        other = (x_s - teacher.at_level(x_s, levels[1], labels)) / low
        return x_t + (low - high) * (slope + other) / 2
