"""Sliced score matching (Song et al., 2019): implicit score matching along random directions."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import UnsuitedError
from .base import Batch, Denoiser, Levels, row_means, second_derivatives

__all__ = ["Sliced"]


@dataclass(frozen=True, kw_only=True)
class Sliced(Levels):
    """E[sigma^2 (v^T ds/dx v + |s|^2 / 2)] for each dimension, with v and eps standard normal.

    The score is that at x = x_0 + sigma eps. The mean over v is implicit score matching. "Sliced
    Score Matching: A Scalable Approach to Density and Score Estimation" (Song et al., 2019), eq. 8,
    https://arxiv.org/abs/1905.07088.
    """

    probes: ClassVar[bool] = True

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        v = batch.probe
        if v is None:
            raise UnsuitedError("sliced needs a batch with a probe, a noise of its own")
        x_t = denoiser.noised(batch).requires_grad_()
        with second_derivatives():
            score = denoiser.predict("score", x_t, batch.t)
            (slope,) = torch.autograd.grad((v * score).sum(), x_t, create_graph=True)
        sigma = denoiser.schedule(batch.t.to(x_t.dtype))[1]
        return sigma**2 * row_means(v * slope + score**2 / 2)
