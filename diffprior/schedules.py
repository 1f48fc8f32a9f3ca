"""Noise schedules: how much signal and how much noise a state has at time t in [0, 1].

x_t = alpha_t x_0 + sigma_t eps. Every schedule keeps a little noise at t = 0 and a little signal at
t = 1, so that alpha_t and sigma_t are never zero and one can divide by them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from .errors import SettingError

__all__ = [
    "EDM",
    "Cosine",
    "Geometric",
    "Grid",
    "LinearBeta",
    "Rectified",
    "Schedule",
    "SubVP",
    "Tabulated",
    "grid",
    "pairs",
]

Grid = Literal["time", "logsnr", "karras", "vp", "quad"]


class Schedule(ABC):
    """How a clean state x_0 is mixed with noise at time t: x_t = alpha_t x_0 + sigma_t eps.

    eps ~ N(0, I), alpha_t is the share of the signal and sigma_t the standard deviation of the
    noise. Time goes from 0, where states are clean, to 1, where they are noise. Call a schedule
    for both numbers; the noise level of x_t / alpha_t is ``ratio``, and ``time`` inverts that. A
    subclass overrides ``__call__``.

    Times are tensors of any shape, in float64 where they come from ``grid``.

    Example:
        >>> import torch
        >>> t = torch.tensor([0.0, 0.5])
        >>> alpha_t, sigma_t = Rectified()(t)
        >>> alpha_t
        tensor([1.0000, 0.5005])
        >>> sigma_t
        tensor([0.0010, 0.5005])
        >>> Rectified().time(1.0)  # as much noise as signal
        tensor(0.5000, dtype=torch.float64)
    """

    @abstractmethod
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(alpha_t, sigma_t)``, each of the shape of ``t``."""

    def ratio(self, t: Tensor) -> Tensor:
        """Return sigma_t / alpha_t, the noise level of x_t / alpha_t."""
        alpha_t, sigma_t = self(t)
        return sigma_t / alpha_t

    def time(self, ratio: Tensor | float) -> Tensor:
        """Return the t at which sigma_t / alpha_t is ``ratio``, in float64, clamped to [0, 1]."""
        ratio = torch.as_tensor(ratio, dtype=torch.float64).cpu()
        low, high = torch.zeros_like(ratio), torch.ones_like(ratio)
        for _ in range(60):  # bisection, to float64
            middle = (low + high) / 2
            below = self.ratio(middle) < ratio
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return high


@dataclass(frozen=True, kw_only=True)
class LinearBeta(Schedule):
    """The linear betas of DDPM, 1e-4 to 0.02 in 1000 steps, continuous in t.

    alpha_t^2 = exp(-N (beta_0 t + (beta_1 - beta_0) t^2 / 2)), with N steps, and
    sigma_t^2 = 1 - alpha_t^2 + sigma_min^2.

    "Denoising Diffusion Probabilistic Models" (Ho et al., 2020), https://arxiv.org/abs/2006.11239;
    the limit of small steps is the VP SDE of Song et al. (2021), https://arxiv.org/abs/2011.13456.
    """

    beta_0: float = 1e-4
    beta_1: float = 0.02
    n: int = 1000
    sigma_min: float = 1e-3

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha2 = -self.n * (self.beta_0 * t + (self.beta_1 - self.beta_0) * t**2 / 2)
        return (log_alpha2 / 2).exp(), (self.sigma_min**2 - log_alpha2.expm1()).sqrt()


@dataclass(frozen=True, kw_only=True)
class SubVP(Schedule):
    """sigma_t = 1 - alpha_t^2, less noise than ``LinearBeta`` has at the same alpha_t.

    "Score-Based Generative Modeling through Stochastic Differential Equations" (Song et al., 2021),
    eq. 29, https://arxiv.org/abs/2011.13456, with the betas of ``LinearBeta`` and its floor:
    sigma_t^2 = (1 - alpha_t^2)^2 + sigma_min^2.
    """

    beta_0: float = 1e-4
    beta_1: float = 0.02
    n: int = 1000
    sigma_min: float = 1e-3

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha2 = -self.n * (self.beta_0 * t + (self.beta_1 - self.beta_0) * t**2 / 2)
        return (log_alpha2 / 2).exp(), (self.sigma_min**2 + log_alpha2.expm1() ** 2).sqrt()


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """alpha_t = cos(t arccos(alpha_min)), sigma_t^2 = 1 - alpha_t^2 + sigma_min^2.

    "Improved Denoising Diffusion Probabilistic Models" (Nichol and Dhariwal, 2021),
    https://arxiv.org/abs/2102.09672, with floors in place of its offset.
    """

    alpha_min: float = 1e-3
    sigma_min: float = 1e-3

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        angle = t * math.acos(self.alpha_min)
        return angle.cos(), (angle.sin() ** 2 + self.sigma_min**2).sqrt()


@dataclass(frozen=True, kw_only=True)
class Geometric(Schedule):
    """alpha_t = 1, sigma_t = sigma_min (sigma_max / sigma_min)^t: VE (Song et al., 2021)."""

    sigma_min: float = 1e-3
    sigma_max: float = 1e2

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_min * (self.sigma_max / self.sigma_min) ** t


@dataclass(frozen=True, kw_only=True)
class EDM(Schedule):
    """alpha_t = 1, sigma_t^(1/rho) linear in t from sigma_min to sigma_max.

    "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al., 2022),
    eq. 5, https://arxiv.org/abs/2206.00364.
    """

    sigma_min: float = 2e-3
    sigma_max: float = 80.0
    rho: float = 7.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return torch.ones_like(t), (low + t * (high - low)) ** self.rho


@dataclass(frozen=True, kw_only=True)
class Rectified(Schedule):
    """The straight path: alpha_t = 1 - s, sigma_t = s, at least ``floor`` away from 0 at both ends.

    s = k t / (1 + (k - 1) t), with k the ``shift``: above 1, more of the times are noisy.

    "Flow Straight and Fast" (Liu et al., 2022), https://arxiv.org/abs/2209.03003; the shift is eq.
    23 of "Scaling Rectified Flow Transformers" (Esser et al., 2024),
    https://arxiv.org/abs/2403.03206.
    """

    floor: float = 1e-3
    shift: float = 1.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        s = self.shift * t / (1 + (self.shift - 1) * t)
        slope = 1 - self.floor
        return 1 - slope * s, self.floor + slope * s


@dataclass(frozen=True, kw_only=True, eq=False)
class Tabulated(Schedule):
    """The schedule of a network trained at N discrete steps, log-linear in between.

    Step i of the table lies at t = (i + 1) / N, and clean data (noise ``sigma_min``) at t = 0, so
    that the result of a sampler that ends at t = 0 has none of the first step's noise.

    Arguments:
        alphas_cumprod: The products of 1 - beta, of shape ``(N,)``, falling.
    """

    alphas_cumprod: Tensor
    sigma_min: float = 1e-3

    @cached_property
    def log_alpha2(self) -> Tensor:
        """The logarithm of alpha_t^2 at t = 0, 1 / N, ..., 1, float64 of shape ``(N + 1,)``."""
        table = self.alphas_cumprod.detach().cpu().double().clamp_min(1e-8).log()
        return torch.cat([table.new_zeros(1), table])

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        i = t.double().cpu() * (len(self.log_alpha2) - 1)
        low = i.floor().long().clamp(0, len(self.log_alpha2) - 2)
        log_alpha2 = torch.lerp(self.log_alpha2[low], self.log_alpha2[low + 1], i - low)
        alpha = (log_alpha2 / 2).exp()
        sigma = (self.sigma_min**2 - log_alpha2.expm1()).sqrt()
        return alpha.to(t), sigma.to(t)


def grid(
    schedule: Schedule,
    kind: Grid,
    steps: int,
    start: Tensor | float = 1.0,
    stop: Tensor | float = 0.0,
    rho: float = 7.0,
) -> Tensor:
    """Return the times of a chain, float64 of shape ``(steps + 1,)``, from ``start`` to ``stop``.

    Arguments:
        kind: What is evenly spaced: ``time``, ``logsnr`` (the log of sigma_t / alpha_t), ``karras``
            (its power 1 / rho, Karras et al., 2022, eq. 5), ``vp`` (the time of DDPM's linear-beta
            schedule at that sigma_t / alpha_t) or ``quad`` (the square of it, DiffPIR's spacing).

    Example:
        >>> grid(Cosine(), "time", 4)
        tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)
    """
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    ends = torch.tensor([float(start), float(stop)], dtype=torch.float64)
    if kind == "time":
        return torch.lerp(ends[0], ends[1], share)
    first, last = schedule.ratio(ends)
    if kind == "logsnr":
        ratios = torch.lerp(first.log(), last.log(), share).exp()
    elif kind == "karras":
        ratios = torch.lerp(first ** (1 / rho), last ** (1 / rho), share) ** rho
    elif kind in ("vp", "quad"):
        ddpm = LinearBeta()
        power = 1 if kind == "vp" else 2
        u, v = ddpm.time(first) ** power, ddpm.time(last) ** power
        ratios = ddpm.ratio(torch.lerp(u, v, share) ** (1 / power))
    else:
        raise SettingError(f"no time grid {kind!r}; there are {', '.join(get_args(Grid))}")
    times = schedule.time(ratios)
    times[0], times[-1] = ends
    return times


def pairs(times: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Return each time of a chain together with the next one."""
    return zip(times[:-1], times[1:], strict=True)
