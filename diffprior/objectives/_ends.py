"""What consistency objectives share: the parameterization and the distance."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.parameterizations import Consistency, Parameterization
from ..validation import Positive
from .base import Denoiser, Objective, check_levels

__all__ = ["Ends"]


@dataclass(frozen=True, kw_only=True)
class Ends(Objective):
    """Objectives whose network says where the flow from x_t ends: a consistency function f.

    Two states of one path have one end. The loss is their distance in f, with the later state free
    and the earlier one, which is nearer to the data, held. The distance is that of pseudo-Huber,
    sqrt(|d|^2 + c^2) - c with c = huber sqrt(D) for D numbers, over the distance of the noise
    levels: "Improved Techniques for Training Consistency Models" (Song and Dhariwal, 2024),
    https://arxiv.org/abs/2310.14189, which also holds the network itself, and no average of it.

    Arguments:
        sigma_min, sigma_max: The noise levels between which a sampler is to walk.
        huber: c / sqrt(D).
    """

    sigma_min: Positive = 0.005
    sigma_max: Positive = 20.0
    huber: Positive = 0.00054

    def __post_init__(self) -> None:
        super().__post_init__()
        check_levels(self.sigma_min, self.sigma_max)

    def parameterization(self, sigma_data: float) -> Parameterization:
        return Consistency(self.sigma_min, self.sigma_max, sigma_data, scale=0.25)

    def distances(
        self, denoiser: Denoiser, late: tuple[Tensor, Tensor], early: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Return the loss of each row, ``(B,)``.

        Arguments:
            late, early: Two states ``(B, *shape)`` of one path, each with its times ``(B,)``.
        """
        with torch.no_grad():
            target = denoiser(*early)
        d = (denoiser(*late) - target).flatten(1)
        c = self.huber * d.shape[1] ** 0.5
        gaps = denoiser.schedule(late[1])[1] - denoiser.schedule(early[1])[1]
        lengths: Tensor = (d.square().sum(1) + c**2).sqrt() - c
        return lengths / gaps.to(d)
