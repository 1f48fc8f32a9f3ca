"""Priors as denoisers of deepinv."""

from typing import Any

import torch
from deepinv.models import Denoiser
from torch import Tensor

from ..priors.base import Prior

__all__ = ["DeepinvDenoiser"]


class DeepinvDenoiser(Denoiser):  # type: ignore[misc]  # deepinv has no types
    """D(x, sigma) = (E[x_0 | x_t] + 1) / 2, with x_t = alpha_t (2 x - 1).

    The time t has sigma_t = 2 sigma alpha_t. If sigma is above the noise levels of the schedule,
    x_t is scaled down to the highest. Like other denoisers of deepinv, it takes images in [0, 1]
    with noise of standard deviation ``sigma`` in the same units, one number or one per image.
    Gradients pass through it. It needs ``pip install diffprior[deepinv]``.

    Arguments:
        prior: A prior of images, not of latents; images have any size that its ``for_shape`` takes.
    """

    def __init__(self, prior: Prior) -> None:
        super().__init__(prior.like.device)
        if prior.latent:
            raise ValueError("a deepinv denoiser works on images, and this is a latent prior")
        self.prior = prior

    def forward(self, x: Tensor, sigma: Tensor | float, **unused: Any) -> Tensor:
        prior = self.prior.for_shape(x.shape[1:])
        levels = torch.as_tensor(sigma).flatten()
        if len(levels) not in (1, len(x)):
            raise ValueError(f"there are {len(levels)} noise levels for {len(x)} images")
        out = torch.empty_like(x)
        for level in set(levels.tolist()):
            rows = (levels == level).expand(len(x))
            out[rows] = self._denoise(prior, x[rows], level)
        return out

    def _denoise(self, prior: Prior, x: Tensor, sigma: float) -> Tensor:
        most = float(prior.diffusion.schedule.ratio(torch.ones(()))) / 2
        excess = max(1.0, sigma / most)
        t = prior.diffusion.schedule.time(2 * sigma / excess)
        alpha_t, _ = prior.diffusion.schedule(t)
        return (prior((alpha_t * (2 * x - 1) / excess).to(prior.like), t).to(x) + 1) / 2
