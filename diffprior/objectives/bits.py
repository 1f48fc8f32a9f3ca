"""Binomial diffusion (Sohl-Dickstein et al., 2015): the bound of bits, in bits per bit."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusions import BernoulliDiffusion
from ..kernels import BernoulliKernel
from ..networks.parameterizations import Bits as Odds
from ..networks.parameterizations import Parameterization
from .base import Batch, Denoiser, Objective, column, earlier, evenly, row_means

__all__ = ["Bits"]


@dataclass(frozen=True, kw_only=True)
class Bits(Objective):
    """The bound of -log p(x_0) of bits, in bits per bit, but for L_T.

    The network says the log-odds of x_0. A step t of N stands for all of them: the loss is
    N KL(q(x_{t-1} | x_t, x_0), p(x_{t-1} | x_t)), and -N log p(x_0 | x_1) at the first one.
    "Deep Unsupervised Learning using Nonequilibrium Thermodynamics" (Sohl-Dickstein et al., 2015),
    app. B.1, https://arxiv.org/abs/1503.03585.

    Arguments:
        steps: Steps of the chain.
    """

    binary: ClassVar[bool] = True

    steps: int = 100

    def parameterization(self, sigma_data: float) -> Parameterization:
        return Odds(self.steps)

    def times(self, u: Tensor) -> Tensor:
        return evenly(u, self.steps)

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        x_0 = batch.x_0
        diffusion = BernoulliDiffusion(denoiser.schedule)
        t = column(batch.t, x_0)
        s = earlier(t, self.steps)
        # noise that is normal becomes uniform
        x_t = (torch.special.ndtr(batch.noise) < diffusion.noise(x_0, t).mean).to(x_0.dtype)
        logits = denoiser.outputs(x_t, batch.t)
        truth = diffusion.bridge(x_t, x_0, t, s)
        steps = row_means(_divergence(truth, diffusion.bridge(x_t, logits.sigmoid(), t, s)))
        last = row_means(F.binary_cross_entropy_with_logits(logits, x_0, reduction="none"))
        terms = torch.where(batch.t * self.steps < 1.5, last, steps)
        return self.steps * terms / math.log(2)


def _divergence(p: BernoulliKernel, q: BernoulliKernel) -> Tensor:
    """Return KL(p, q) of each bit."""
    one = F.logsigmoid(p.logits) - F.logsigmoid(q.logits)
    zero = F.logsigmoid(-p.logits) - F.logsigmoid(-q.logits)
    return p.mean * one + (1 - p.mean) * zero
