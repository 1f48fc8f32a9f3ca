"""The variational bound (Sohl-Dickstein et al., 2015; Ho et al., 2020): bits per dimension."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..densities.levels import WIDTH, log_normal_between
from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel
from ..networks.parameterizations import Mean, Parameterization
from ..solvers import wide_dtype
from .base import Batch, Denoiser, Steps, column, earlier, row_means

__all__ = ["VLB", "bound_terms", "wide"]

FARTHEST = 1e3  # standard deviations from a mean to the edge of the first and the last level


@dataclass(frozen=True, kw_only=True)
class VLB(Steps):
    """The bound of -log p(x_0) in bits per dimension, but for L_T, which no network changes.

    A step t of N stands for all of them: the loss is N L_{t-1}, with
    L_{t-1} = KL(q(x_{t-1} | x_t, x_0), p(x_{t-1} | x_t)), and N L_0 at the first one, where
    L_0 = -log p(x_0 | x_1). Its mean over t is the bound. "Denoising Diffusion Probabilistic
    Models" (Ho et al., 2020), eq. 5, https://arxiv.org/abs/2006.11239.

    Arguments:
        levels: Whether states are images of 256 levels. Otherwise L_0 is a density, of points.
        predicts: What the network says: the noise, or ``mu``, the mean of the step before.
        variance: ``fixed`` is beta_tilde, that of the posterior of the forward chain. ``learned``
            is beta_tilde^(1 - v) beta^v, v = (out + 1) / 2, with v a second output of the network
            for each number, as in ``hybrid``.
    """

    levels: bool = True
    predicts: Literal["epsilon", "mu"] = "epsilon"
    variance: Literal["fixed", "learned"] = "fixed"

    @property
    def numbers(self) -> int:
        return 2 if self.variance == "learned" else 1

    def parameterization(self, sigma_data: float) -> Parameterization:
        own = super().parameterization(sigma_data)
        return Mean(self.table()) if self.predicts == "mu" else own

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        x_t = denoiser.noised(batch)
        outputs = denoiser.outputs(x_t, batch.t)
        x_0 = denoiser.denoised(x_t, batch.t, outputs)
        share = (wide(outputs.chunk(2, 1)[1]) + 1) / 2 if self.numbers == 2 else None
        terms = bound_terms(self, denoiser, batch, (x_t, x_0), share, self.levels)
        return self.steps * terms / math.log(2)


def bound_terms(
    chain: Steps,
    denoiser: Denoiser,
    batch: Batch,
    states: tuple[Tensor, Tensor],
    share: Tensor | None = None,
    levels: bool = True,
) -> Tensor:
    """Return the term of the bound of each row, L_{t-1} or L_0, in nats per dimension, ``(B,)``.

    Arguments:
        chain: The steps.
        states: x_t, and the network's E[x_0 | x_t].
        share: v of the variance beta_tilde^(1 - v) beta^v, of the shape of ``x_t``; default: 0.
        levels: Whether L_0 is that of images of 256 levels. Otherwise it is a density.
    """
    x_t, x_0, clean = (wide(x) for x in (*states, batch.x_0))
    t = column(batch.t, x_t)
    s = earlier(t, chain.steps)
    diffusion = GaussianDiffusion(denoiser.schedule)
    truth, model = (diffusion.bridge(x_t, x, t, s) for x in (clean, x_0))
    if share is not None:
        beta = diffusion.jump(x_t, s, t).var
        model = GaussianKernel(model.loc, model.var ** (1 - share) * beta**share)
    steps = row_means(_divergence(truth, model))
    costs = _level_costs if levels else _point_costs
    last = row_means(costs(clean, x_0, diffusion.schedule.ratio(t)))
    return torch.where(batch.t * chain.steps < 1.5, last, steps)


def wide(x: Tensor) -> Tensor:
    """Return a tensor in float64, where its device has it: the steps of a chain differ little."""
    return x.to(wide_dtype(x))


def _divergence(p: GaussianKernel, q: GaussianKernel) -> Tensor:
    """Return KL(p, q) of each number of the states."""
    ratio = p.var / q.var
    return (ratio - 1 - ratio.log() + (p.loc - q.loc) ** 2 / q.var) / 2


def _level_costs(x_0: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return -log of the probability of the level of each number, as ``level_log_prob`` has it.

    The edges of the first and the last level are far away, and not infinite, for the gradient.
    """
    d = x_0 - mean
    half = WIDTH / 2
    low = torch.where(x_0 < -1 + half, -FARTHEST, (d - half) / scale)
    high = torch.where(x_0 > 1 - half, FARTHEST, (d + half) / scale)
    return -log_normal_between(low, high)


def _point_costs(x_0: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return -log of the density N(x_0; mean, scale^2) of each number."""
    return (((x_0 - mean) / scale) ** 2 + (2 * math.pi * scale**2).log()) / 2
