"""Progressive distillation (Salimans and Ho, 2022): one step in the place of two of the teacher."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..networks.parameterizations import Parameterization
from .base import (
    Batch,
    Denoiser,
    Objective,
    Teacher,
    column,
    earlier,
    evenly,
    row_means,
    taught_by,
)
from .guided import form_of_the_teacher, weights

__all__ = ["Progressive", "two_steps"]


@dataclass(frozen=True, kw_only=True)
class Progressive(Objective):
    """E[max(1, alpha_t^2 / sigma_t^2) |D_theta(x_t, t) - x~|^2], t one of 1/N, 2/N, ..., 1.

    A DDIM step with x~ from t to t - 1/N ends where two of the teacher end, by t - 1/(2 N). The
    network is for DDIM in N steps, evenly spaced in time. Each run halves the steps of the last
    one, which is its teacher. "Progressive Distillation for Fast Sampling of Diffusion Models"
    (Salimans and Ho, 2022), algorithm 2, https://arxiv.org/abs/2202.00512.

    Arguments:
        steps: N.
    """

    taught: ClassVar[bool] = True
    copies: ClassVar[bool] = True

    steps: int = 4

    def parameterization(self, sigma_data: float) -> Parameterization:
        raise form_of_the_teacher("progressive")

    def times(self, u: Tensor) -> Tensor:
        return evenly(u, self.steps)

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        x_t, ends = denoiser.noised(batch), (batch.t, earlier(batch.t, self.steps))
        target = two_steps(taught_by(denoiser), x_t, ends, denoiser.labels)
        errors = row_means((denoiser(x_t, batch.t) - target) ** 2)
        return weights(denoiser.schedule, batch.t).to(errors) * errors


def two_steps(
    teacher: Teacher, x_t: Tensor, ends: tuple[Tensor, Tensor], labels: Tensor | None = None
) -> Tensor:
    """Return the x_0 with which one DDIM step ends where two steps of a teacher end.

    With r = sigma / alpha at t, r' in the middle and r'' at s, and x, x' the answers of the teacher
    at t and in the middle, it is w x' + (1 - w) x with w = (1 - r''/r') / (1 - r''/r).

    Arguments:
        teacher: The teacher.
        x_t: States, of shape ``(B, *shape)``.
        ends: Their times t, and the times s < t of the end, each of shape ``(B,)``.
        labels: The class of each row.
    """
    t, s = ends
    middle = (t + s) / 2
    (alpha, sigma), (alpha_u, sigma_u) = (teacher.schedule(column(v, x_t)) for v in (t, middle))
    first = teacher.denoise(x_t, t, labels)
    x_u = alpha_u * first + sigma_u / sigma * (x_t - alpha * first)
    second = teacher.denoise(x_u, middle, labels)
    r, r_u, r_s = (teacher.schedule.ratio(column(v, x_t)) for v in (t, middle, s))
    return first + (1 - r_s / r_u) / (1 - r_s / r) * (second - first)
