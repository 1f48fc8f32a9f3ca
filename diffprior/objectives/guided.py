"""Guided distillation (Meng et al., 2023): guidance in one call, in the place of two."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ..errors import UnsuitedError
from ..networks.parameterizations import Parameterization
from ..schedules import Schedule
from ..validation import ANYWHERE
from .base import Batch, Denoiser, Objective, Teacher, row_means, taught_by

__all__ = ["Guided", "form_of_the_teacher", "guided", "weights"]


@dataclass(frozen=True, kw_only=True)
class Guided(Objective):
    """E[max(1, alpha_t^2 / sigma_t^2) |D_theta(x_t, t, c) - x~|^2], x~ the guided teacher.

    x~ = x_0(free) + w (x_0(c) - x_0(free)). Where the label is hidden x~ is x_0(free). Times are
    uniform. "On Distillation of Guided Diffusion Models" (Meng et al., 2023), algorithm 1,
    https://arxiv.org/abs/2210.03142. There the network is told w; here it learns one w.

    Arguments:
        guidance_scale: w; 1 is the class alone. The w of the paper is one less.
    """

    taught: ClassVar[bool] = True
    copies: ClassVar[bool] = True

    guidance_scale: Annotated[float, ANYWHERE] = 3.0

    def parameterization(self, sigma_data: float) -> Parameterization:
        raise form_of_the_teacher("guided")

    def times(self, u: Tensor) -> Tensor:
        return u

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        x_t = denoiser.noised(batch)
        if denoiser.labels is None:
            raise UnsuitedError("guided learns the guidance of classes, and these data have none")
        teacher = taught_by(denoiser)
        target = guided(teacher, x_t, batch.t, denoiser.labels, self.guidance_scale)
        errors = row_means((denoiser(x_t, batch.t) - target) ** 2)
        return weights(denoiser.schedule, batch.t).to(errors) * errors


def guided(teacher: Teacher, x_t: Tensor, t: Tensor, labels: Tensor, scale: float) -> Tensor:
    """Return what a teacher under guidance says, of the shape of ``x_t``.

    Arguments:
        x_t, t: States ``(B, *shape)`` and their times ``(B,)``.
        labels: The class of each row, ``(B,)``.
        scale: w.
    """
    free = teacher.denoise(x_t, t, torch.full_like(labels, teacher.classes))
    return free + scale * (teacher.denoise(x_t, t, labels) - free)


def weights(schedule: Schedule, t: Tensor) -> Tensor:
    """Return max(1, alpha_t^2 / sigma_t^2), the truncated weight of Salimans and Ho (2022)."""
    return (1 / schedule.ratio(t) ** 2).clamp_min(1)


def form_of_the_teacher(name: str) -> UnsuitedError:
    """Return the error for one who asks what a network takes before there is a teacher."""
    return UnsuitedError(f"the network of {name} has the form of its teacher, and there is none")
