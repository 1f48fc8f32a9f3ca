"""What a network is asked, and how its answer becomes E[x_0 | x_t]: one convention a class."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ..schedules import EDM, Geometric, Rectified, Schedule, Tabulated

__all__ = [
    "KINDS",
    "VE",
    "VP",
    "Consistency",
    "Discrete",
    "Flow",
    "Head",
    "Karras",
    "Score",
    "cosine_table",
    "linear_table",
]

Kind = Literal["epsilon", "v_prediction", "sample"]
KINDS = ("epsilon", "v_prediction", "sample")


class Head(ABC):
    """A convention. Attributes: schedule, on which x_t = alpha_t x_0 + sigma_t eps in [-1, 1]."""

    schedule: Schedule

    @abstractmethod
    def ask(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image and the time that the network is given."""

    @abstractmethod
    def mean(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        """Return E[x_0 | x_t], given what the network answered."""

    def with_time_shift(self, tokens: int) -> "Head":
        """Return the convention for states of so many tokens, where times hang on that."""
        return self


class Discrete(Head):
    """Networks of N steps, asked for step N t - 1, fractions and all, and none below step 0.

    With an epsilon head x_0 = (x_t - sigma_t out) / alpha_t, with a v_prediction head
    x_0 = (alpha_t x_t - sigma_t out) / (alpha_t^2 + sigma_t^2), with a sample head x_0 = out.

    Arguments:
        alphas_cumprod: The products of 1 - beta at its steps, of shape ``(N,)``.
        kind: What it predicts: ``epsilon``, ``v_prediction`` or ``sample``.
        scale: What the step is multiplied by.
    """

    def __init__(
        self, alphas_cumprod: Tensor, kind: Kind | str = "epsilon", scale: float = 1.0
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"no head {kind!r}; there are {', '.join(KINDS)}")
        self.schedule = Tabulated(alphas_cumprod=alphas_cumprod)
        self.kind, self.steps, self.scale = kind, len(alphas_cumprod), scale

    def ask(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_t, (t * self.steps - 1).clamp_min(0) * self.scale

    def mean(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        alpha_t, sigma_t = self.schedule(t)
        if self.kind == "epsilon":
            return (x_t - sigma_t * out) / alpha_t
        if self.kind == "v_prediction":
            return (alpha_t * x_t - sigma_t * out) / (alpha_t**2 + sigma_t**2)
        return out


class Score(Head):
    """Scores of images in [0, 1] under exploding noise: x_0 = x_t + sigma_t^2 out / 2.

    "Score-Based Generative Modeling through Stochastic Differential Equations" (Song et al., 2021),
    https://arxiv.org/abs/2011.13456. In [-1, 1] all noise is twice as high as the network is told.

    Arguments:
        sigma_min, sigma_max: The noise levels it was trained for, in [0, 1] units.
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 1348.0) -> None:
        self.schedule = Geometric(sigma_min=2 * sigma_min, sigma_max=2 * sigma_max)

    def ask(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return (x_t + 1) / 2, self.schedule(t)[1] / 2

    def mean(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        return x_t + self.schedule(t)[1] ** 2 * out / 2


class Karras(Head):
    """x_0 = c_skip x_t + c_out out, asked c_in x_t at log(sigma_t) / 4; c_out < 0 for v.

    "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al., 2022),
    table 1, https://arxiv.org/abs/2206.00364.
    """

    def __init__(
        self,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        kind: Kind | str = "epsilon",
    ) -> None:
        if kind not in ("epsilon", "v_prediction"):
            raise ValueError(f"no head {kind!r}; there are epsilon, v_prediction")
        self.schedule = EDM(sigma_min=sigma_min, sigma_max=sigma_max)
        self.sigma_data, self.sign = sigma_data, 1 if kind == "epsilon" else -1

    def ask(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.schedule(t)[1]
        return x_t / (sigma**2 + self.sigma_data**2).sqrt(), sigma.log() / 4

    def mean(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        sigma = self.schedule(t)[1]
        total = sigma**2 + self.sigma_data**2
        c_skip, c_out = self.sigma_data**2 / total, self.sign * sigma * self.sigma_data
        return c_skip * x_t + c_out / total.sqrt() * out


class VP(Head):
    """x_0 = x_t - sigma_t out, asked x_t / sqrt(sigma_t^2 + 1) at 999 tau.

    tau = (sqrt(beta_min^2 + 2 beta_d log(1 + sigma_t^2)) - beta_min) / beta_d is the time of the VP
    SDE at that noise level; Karras et al. (2022), table 1.
    """

    def __init__(self, beta_d: float = 19.9, beta_min: float = 0.1, steps: int = 1000) -> None:
        ends = [math.expm1(beta_d * tau**2 / 2 + beta_min * tau) ** 0.5 for tau in (1e-5, 1.0)]
        self.schedule = EDM(sigma_min=ends[0], sigma_max=ends[1])
        self.beta_d, self.beta_min, self.steps = beta_d, beta_min, steps

    def ask(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.schedule(t)[1]
        root = (self.beta_min**2 + 2 * self.beta_d * (sigma**2).log1p()).sqrt()
        tau = (root - self.beta_min) / self.beta_d
        return x_t / (sigma**2 + 1).sqrt(), (self.steps - 1) * tau

    def mean(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        return x_t - self.schedule(t)[1] * out


class VE(Head):
    """x_0 = x_t + sigma_t out, asked x_t at log(sigma_t / 2); Karras et al. (2022), table 1."""

    def __init__(self, sigma_min: float = 0.02, sigma_max: float = 100.0) -> None:
        self.schedule = EDM(sigma_min=sigma_min, sigma_max=sigma_max)

    def ask(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_t, (self.schedule(t)[1] / 2).log()

    def mean(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        return x_t + self.schedule(t)[1] * out


class Consistency(Head):
    """The end of the flow from x_t, which stands for the mean: heuristic.

    x_0 = c_skip x_t + c_out out, with d = sigma_t - sigma_min, c_skip = s^2 / (d^2 + s^2),
    c_out = d s / sqrt(sigma_t^2 + s^2), s = sigma_data.

    "Consistency Models" (Song et al., 2023), app. C, https://arxiv.org/abs/2303.01469.
    """

    def __init__(
        self, sigma_min: float = 0.002, sigma_max: float = 80.0, sigma_data: float = 0.5
    ) -> None:
        self.schedule = EDM(sigma_min=sigma_min, sigma_max=sigma_max)
        self.sigma_min, self.sigma_data = sigma_min, sigma_data

    def ask(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.schedule(t)[1]
        return x_t / (sigma**2 + self.sigma_data**2).sqrt(), 250 * sigma.log()

    def mean(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        sigma, s = self.schedule(t)[1], self.sigma_data
        d = sigma - self.sigma_min
        return s**2 / (d**2 + s**2) * x_t + d * s / (sigma**2 + s**2).sqrt() * out


class Flow(Head):
    """Velocities eps - x_0 of the straight path: x_0 = x - s out.

    x = x_t / (alpha_t + sigma_t) lies on the path at s = sigma_t / (alpha_t + sigma_t).
    "Flow Straight and Fast" (Liu et al., 2022), https://arxiv.org/abs/2209.03003.

    Arguments:
        steps: The step that the network is told at s = 1.
        shift: That of the schedule.
        growth: Where it hangs on the size of a state: the shift for so many tokens.
    """

    def __init__(
        self,
        steps: int = 1000,
        shift: float = 1.0,
        growth: Callable[[int], float] | None = None,
    ) -> None:
        self.schedule, self.steps, self.growth = Rectified(shift=shift), steps, growth

    def with_time_shift(self, tokens: int) -> "Flow":
        return Flow(self.steps, self.growth(tokens), self.growth) if self.growth else self

    def _place(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha_t, sigma_t = self.schedule(t)
        total = alpha_t + sigma_t
        return x_t / total, sigma_t / total

    def ask(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x, s = self._place(x_t, t)
        return x, self.steps * s

    def mean(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        x, s = self._place(x_t, t)
        return x - s * out


def linear_table(steps: int = 1000) -> Tensor:
    """Return the products of 1 - beta with betas from 0.1 / N to 20 / N, those of DDPM at 1000."""
    return (1 - torch.linspace(0.1 / steps, 20 / steps, steps, dtype=torch.float64)).cumprod(0)


def cosine_table(steps: int = 1000) -> Tensor:
    """Return the products of 1 - beta of improved diffusion, beta_i no larger than 0.999.

    "Improved Denoising Diffusion Probabilistic Models" (Nichol and Dhariwal, 2021), eq. 17,
    https://arxiv.org/abs/2102.09672.
    """
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    f = ((t + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    return (f[1:] / f[:-1]).clamp_min(0.001).cumprod(0)
