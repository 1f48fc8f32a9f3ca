"""The bound K of 2015, for Gaussian and for binomial diffusion."""

import torch
from torch import Tensor

from ..random import Noise
from ..schedules import pairs
from .bound import Denoiser

__all__ = ["nonequilibrium_bound"]


@torch.no_grad()
def nonequilibrium_bound(prior: Denoiser, x_0: Tensor, times: Tensor, noise: Noise) -> Tensor:
    """Return K, a lower bound of the mean of log p(x_0), as an estimate for each row, in nats.

    K = -sum_{t=2}^T KL(q(x_{t-1} | x_t, x_0), p(x_{t-1} | x_t))
        + H_q(x_T | x_0) - H_q(x_1 | x_0) - H_p(x_T)

    is eq. 14 of "Deep Unsupervised Learning using Nonequilibrium Thermodynamics" (Sohl-Dickstein et
    al., 2015), https://arxiv.org/abs/1503.03585. The last step back is the first step forward, so
    that K needs no decoder: it is the mean of log p(x_1), and equals that of log p(x_0) where the
    first step changes neither, as for many steps. x_T has to be noise alone.

    Arguments:
        prior: A prior with Gaussian noise or of bits.
        x_0: Clean states, of shape ``(B, *shape)``.
        times: t_T = 1 > ... > t_1 > 0, of shape ``(T,)``.
        noise: The streams of the rows.

    Returns:
        Of shape ``(B,)``; the mean over states of the data is K.
    """
    diffusion = prior.diffusion
    first, last = (diffusion.noise(x_0, t).entropy() for t in (times[-1], times[0]))
    total = last - first - diffusion.terminal(x_0.shape).entropy().to(last)
    for t, s in pairs(times):
        x_t = diffusion.noise(x_0, t).sample(noise)
        mean = prior(x_t, t)
        total = total - diffusion.bridge(x_t, x_0, t, s).kl(diffusion.bridge(x_t, mean, t, s))
    return total
