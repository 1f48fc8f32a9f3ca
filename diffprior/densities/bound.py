"""The variational bound of a prior, term by term, and its curve of rate against distortion."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..diffusions import Diffusion
from ..errors import UnsuitedError
from ..kernels import BernoulliKernel, GaussianKernel
from ..random import Noise
from ..schedules import grid, pairs
from ..solvers import row_sums
from .levels import WIDTH, bits_per_dimension, level_log_prob

__all__ = [
    "Bound",
    "Curve",
    "Decoder",
    "Denoiser",
    "bit_log_prob",
    "limit_bound",
    "point_log_prob",
    "variational_bound",
]

# Takes x_0, E[x_0 | x_t] and sigma_t / alpha_t; returns log p(x_0 | x_t) of each row, (B,)
Decoder = Callable[[Tensor, Tensor, Tensor], Tensor]


class Denoiser(Protocol):
    """What a bound needs of a prior: its diffusion, and E[x_0 | x_t]."""

    @property
    def diffusion(self) -> Diffusion:
        """Return how noise is added to states."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x_0 | x_t]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Progressive coding: what a part of the code costs, and what is known after it.

    Attributes:
        rate: Bits per dimension so far, of shape ``(B, T + 1)``, rising.
        distortion: Root mean square error of the best guess so far, in the 256 levels of an image,
            of shape ``(B, T + 1)``; 0 at the end.
    """

    rate: Tensor
    distortion: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Bound:
    """An upper bound of the code length of states, -log p(x_0), by terms, in nats.

    Each is an estimate from one draw of the noise at each time.

    Attributes:
        times: The times t_T > ... > t_1 of the chain, of shape ``(T,)``.
        first: L_T, what it costs to say x at the first time, of shape ``(B,)``.
        steps: L_{t-1}, what each step to the next time costs, of shape ``(B, T - 1)``.
        last: L_0, what the clean states cost at the end, of shape ``(B,)``.
        errors: Mean square error of E[x_0 | x_t] at each time, of shape ``(B, T)``.
        size: The numbers of one state.
    """

    times: Tensor
    first: Tensor
    steps: Tensor
    last: Tensor
    errors: Tensor
    size: int

    @property
    def total(self) -> Tensor:
        """Return the bound, of shape ``(B,)``."""
        return self.first + self.steps.sum(1) + self.last

    @property
    def bits(self) -> Tensor:
        """Return the bound in bits per dimension, of shape ``(B,)``."""
        return bits_per_dimension(self.total, self.size)

    def curve(self) -> Curve:
        """Return the rate and the distortion of progressive coding.

        Section 4.3 of "Denoising Diffusion Probabilistic Models" (Ho et al., 2020),
        https://arxiv.org/abs/2006.11239.
        """
        costs = torch.cat([self.first[:, None], self.steps, self.last[:, None]], 1)
        distortion = torch.cat([self.errors.sqrt() / WIDTH, torch.zeros_like(costs[:, :1])], 1)
        return Curve(rate=bits_per_dimension(costs.cumsum(1), self.size), distortion=distortion)


def point_log_prob(x_0: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the log-density of points under N(mean, scale^2), of shape ``(B,)``."""
    d = (x_0 - mean) / scale
    return -row_sums(d * d + (2 * math.pi * scale**2).log()) / 2


def bit_log_prob(x_0: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the log-probability, ``(B,)``, of bits that are 1 with probability ``mean``."""
    return BernoulliKernel(mean.logit(eps=1e-7)).log_prob(x_0)


@torch.no_grad()
def variational_bound(
    prior: Denoiser, x_0: Tensor, times: Tensor, noise: Noise, decoder: Decoder = level_log_prob
) -> Bound:
    """Return the bound of a chain of steps, by terms.

    L_T = KL(q(x_T | x_0), p(x_T)), L_{t-1} = KL(q(x_{t-1} | x_t, x_0), p(x_{t-1} | x_t)),
    L_0 = -log p(x_0 | x_1), where p(x_{t-1} | x_t) is q(x_{t-1} | x_t, E[x_0 | x_t]): eq. 5 of
    "Denoising Diffusion Probabilistic Models" (Ho et al., 2020), https://arxiv.org/abs/2006.11239,
    with the smaller of its two variances.

    Arguments:
        prior: The prior, of images or of bits.
        x_0: Clean states, of shape ``(B, *shape)``.
        times: The times of the chain, falling, of shape ``(T,)``.
        noise: The streams of the rows.
        decoder: log p(x_0 | x_1): ``level_log_prob`` for images of 256 levels,
            ``point_log_prob`` for points, ``bit_log_prob`` for bits.
    """
    diffusion = prior.diffusion
    first = diffusion.noise(x_0, times[0]).kl(diffusion.terminal(x_0.shape))
    steps, errors = [], []
    for t, s in pairs(times):
        x_t = diffusion.noise(x_0, t).sample(noise)
        mean = prior(x_t, t)
        known, guessed = (diffusion.bridge(x_t, x, t, s) for x in (x_0, mean))
        steps.append(known.kl(guessed))
        errors.append(_error(x_0, mean))
    last, error = _decode(prior, x_0, times[-1], noise, decoder)
    return _bound(x_0, times, first, steps, last, [*errors, error])


@torch.no_grad()
def limit_bound(
    prior: Denoiser, x_0: Tensor, levels: int, noise: Noise, decoder: Decoder = level_log_prob
) -> Bound:
    """Return the bound in the limit of many steps, from a few noise levels.

    The steps then cost the integral of |x_0 - E[x_0 | x_t]|^2 / r^2 by log r, from the last noise
    level r = sigma_t / alpha_t to the first one: eq. 15 of "Variational Diffusion Models" (Kingma
    et al., 2021), https://arxiv.org/abs/2107.00630. It is taken by the midpoint rule.

    Arguments:
        prior, x_0, noise, decoder: As of ``variational_bound``.
        levels: Points of the rule, evenly spaced in log r.

    Returns:
        A bound whose times are the ends of the intervals, and the last one. Its errors are those in
        the middle of the intervals, and at the end.
    """
    diffusion = prior.diffusion
    schedule = diffusion.schedule
    times = grid(schedule, "logsnr", 2 * levels)
    first = diffusion.noise(x_0, times[0]).kl(diffusion.terminal(x_0.shape))
    if not isinstance(diffusion.noise(x_0, times[0]), GaussianKernel):
        raise UnsuitedError("the limit of many steps needs Gaussian noise: use variational_bound")
    width = (schedule.ratio(times[0]) / schedule.ratio(times[-1])).log() / levels
    steps, errors = [], []
    for t in times[1::2]:
        mean = prior(diffusion.noise(x_0, t).sample(noise), t)
        errors.append(_error(x_0, mean))
        steps.append(errors[-1] * x_0[0].numel() * width / schedule.ratio(t) ** 2)
    last, error = _decode(prior, x_0, times[-1], noise, decoder)
    return _bound(x_0, times[::2], first, steps, last, [*errors, error])


def _decode(
    prior: Denoiser, x_0: Tensor, t: Tensor, noise: Noise, decoder: Decoder
) -> tuple[Tensor, Tensor]:
    """Return what clean states cost after the last step, and the error of the guess there."""
    mean = prior(prior.diffusion.noise(x_0, t).sample(noise), t)
    return -decoder(x_0, mean, prior.diffusion.schedule.ratio(t)), _error(x_0, mean)


def _error(x_0: Tensor, mean: Tensor) -> Tensor:
    """Return the mean square error of each row, of shape ``(B,)``."""
    d = x_0 - mean
    return row_sums(d * d) / d[0].numel()


def _bound(
    x_0: Tensor,
    times: Tensor,
    first: Tensor,
    steps: list[Tensor],
    last: Tensor,
    errors: list[Tensor],
) -> Bound:
    """Return a bound whose terms lie side by side, on the CPU."""
    one = [terms.cpu() for terms in (first, *steps, last)]
    return Bound(
        times=times,
        first=one[0],
        steps=torch.stack([*one[1:-1]], 1) if steps else one[0].new_empty(len(x_0), 0),
        last=one[-1],
        errors=torch.stack([error.cpu() for error in errors], 1),
        size=x_0[0].numel(),
    )
