"""Flow matching (Lipman et al., 2023; Liu et al., 2023): the velocity of the straight path."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..networks.parameterizations import Flow as Velocity
from ..networks.parameterizations import Parameterization
from .base import Batch, Denoiser, Objective, row_means

__all__ = ["Flow"]


@dataclass(frozen=True, kw_only=True)
class Flow(Objective):
    """E|u_theta(x_t, t) - (eps - x_0)|^2 with x_t = (1 - t) x_0 + t eps.

    "Flow Matching for Generative Modeling" (Lipman et al., 2023), https://arxiv.org/abs/2210.02747;
    "Flow Straight and Fast" (Liu et al., 2023), https://arxiv.org/abs/2209.03003.

    Arguments:
        law: Of t: ``uniform``, or ``logit_normal``, which has more of the middle: "Scaling
            Rectified Flow Transformers" (Esser et al., 2024), eq. 19,
            https://arxiv.org/abs/2403.03206.
        steps: The time that the network takes at t = 1.
    """

    law: Literal["uniform", "logit_normal"] = "uniform"
    steps: int = 1000

    def parameterization(self, sigma_data: float) -> Parameterization:
        return Velocity(self.steps)

    def times(self, u: Tensor) -> Tensor:
        if self.law == "uniform":
            return u
        normal: Tensor = torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4))
        return normal.sigmoid()

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        outputs = denoiser.outputs(denoiser.noised(batch), batch.t)
        return row_means((outputs - (batch.noise - batch.x_0)) ** 2)
