"""Automatic masks of edits: where two conditions disagree."""

import torch
from torch import Tensor

from ..priors.base import Prior
from ..random import Noise

__all__ = ["disagreement"]

LEVEL = 1.6  # sigma_t / alpha_t in the middle of the times of Stable Diffusion
OUTLIER = 3.0  # times the mean; larger differences are clipped to it


@torch.no_grad()
def disagreement(
    source: Prior,
    target: Prior,
    x_0: Tensor,
    noise: Noise,
    *,
    draws: int = 10,
    threshold: float = 0.5,
) -> Tensor:
    """Return True where the mean of |x_0(target) - x_0(source)| is large, ``(B, 1, H, W)``.

    The mean is taken over channels and draws of x_t, clipped to three times its own mean over the
    state, and compared with ``threshold`` times its maximum. "DiffEdit: Diffusion-based Semantic
    Image Editing with Mask Guidance" (Couairon et al., 2023), sec. 3.2,
    https://arxiv.org/abs/2210.11427; a difference of x_0 is one of eps, scaled.

    Arguments:
        source, target: Priors under the two conditions, without guidance.
        x_0: States, of shape ``(B, C, H, W)``.
        noise: Their noise streams.
        draws: Number of draws of x_t.
        threshold: Share of the maximum, in [0, 1].
    """
    t = target.diffusion.schedule.time(LEVEL)
    total = torch.zeros_like(x_0[:, :1])
    for _ in range(draws):
        x_t = target.diffusion.noise(x_0, t).sample(noise)
        total = total + (target(x_t, t) - source(x_t, t)).abs().mean(1, keepdim=True)
    d = torch.minimum(total, OUTLIER * total.mean((1, 2, 3), keepdim=True))
    return (d >= threshold * d.amax((1, 2, 3), keepdim=True)) & (d > 0)
