"""Images of 256 levels: the odds of a level, noise inside it, and bits per dimension."""

import math

import torch
from torch import Tensor
from torch.special import log_ndtr

from ..batching import row_by_row
from ..random import Noise
from ..solvers import row_sums

__all__ = [
    "LEVELS",
    "WIDTH",
    "bits_per_dimension",
    "dequantize",
    "level_log_prob",
    "log_normal_between",
    "to_levels",
]

LEVELS = 256
WIDTH = 2 / (LEVELS - 1)  # of a level, as images lie in [-1, 1]


def to_levels(x: Tensor) -> Tensor:
    """Return images in [-1, 1] with each value at the nearest of the 256 levels."""
    return ((x + 1) / WIDTH).round().clamp(0, LEVELS - 1) * WIDTH - 1


def dequantize(x_0: Tensor, noise: Noise) -> Tensor:
    """Return images with uniform noise inside the level of each value.

    For a density p, E[log p] of the result plus ``math.log(WIDTH)`` for each number is at most the
    log-probability of the levels: "A note on the evaluation of generative models" (Theis et al.,
    2016), https://arxiv.org/abs/1511.01844.

    Arguments:
        x_0: Images of 256 levels in [-1, 1], of shape ``(B, *shape)``.
        noise: The streams of the rows.
    """
    return x_0 + WIDTH * (noise.uniform(x_0) - 0.5)


def level_log_prob(x_0: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the log-probability of the levels of images, of shape ``(B,)``, in float64.

    A level has the probability that N(mean, scale^2) has between its two edges. The edge below the
    first level and that above the last one are infinite, so that the 256 probabilities sum to 1:
    eq. 13 of "Denoising Diffusion Probabilistic Models" (Ho et al., 2020),
    https://arxiv.org/abs/2006.11239.

    Arguments:
        x_0: Images of 256 levels in [-1, 1], of shape ``(B, *shape)``.
        mean: Of the same shape.
        scale: Without axes.
    """
    wide = scale.to("cpu", torch.float64)

    def odds(x: Tensor, m: Tensor) -> Tensor:
        x, m = x.to("cpu", torch.float64), m.to("cpu", torch.float64)
        low = torch.where(x < -1 + WIDTH / 2, -math.inf, (x - WIDTH / 2 - m) / wide)
        high = torch.where(x > 1 - WIDTH / 2, math.inf, (x + WIDTH / 2 - m) / wide)
        return row_sums(log_normal_between(low, high))

    return row_by_row(odds, x_0, mean)


def log_normal_between(low: Tensor, high: Tensor) -> Tensor:
    """Return log(Phi(high) - Phi(low)), from the tail that loses no digits."""
    turned = low > 0
    low, high = torch.where(turned, -high, low), torch.where(turned, -low, high)
    upper: Tensor = log_ndtr(high)
    return upper + torch.log1p(-(log_ndtr(low) - upper).exp())


def bits_per_dimension(nats: Tensor, size: int) -> Tensor:
    """Return a code length in bits for each number, of that of ``size`` numbers in nats."""
    return nats / (size * math.log(2))
