"""Parameterizations: what a network takes, and how E[x_0 | x_t] follows from its output."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ..errors import SettingError
from ..schedules import EDM, Cosine, Geometric, LinearBeta, Rectified, Schedule, Tabulated
from ..validation import literal
from .predictions import Place, convert

__all__ = [
    "KINDS",
    "VE",
    "VP",
    "Bits",
    "Consistency",
    "Discrete",
    "Drawn",
    "Flow",
    "Karras",
    "Mean",
    "Parameterization",
    "Score",
    "cosine_table",
    "karras",
    "linear_table",
    "scalings",
]

Kind = Literal["epsilon", "v_prediction", "sample"]
KINDS = ("epsilon", "v_prediction", "sample")
FEW = 20  # steps of a chain, for which betas of DDPM would reach 1


class Parameterization(ABC):
    """How a network is used as a denoiser.

    Networks differ in the noisy image and the time that they take, and in what they predict: the
    noise, the clean image, a score or a velocity. A parameterization converts both ways::

        x, time = parameterization.inputs(x_t, t)
        x_0 = parameterization.denoised(x_t, t, network(x, time))

    Attributes:
        schedule: The schedule of the states x_t = alpha_t x_0 + sigma_t eps, x_0 in [-1, 1].
        consistency: Whether ``denoised`` returns the end of the flow, in place of the mean.
        binary: Whether states are bits, which are flipped in place of noise that is added.
        draws: Whether the network takes a noise beside x_t, and draws x_0, in place of the mean.
    """

    schedule: Schedule
    consistency: bool = False
    binary: bool = False
    draws: bool = False

    @abstractmethod
    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image, of the shape of ``x_t``, and the time that the network takes.

        Arguments:
            x_t: Noisy states, of shape ``(B, C, H, W)``.
            t: Their time in [0, 1], without axes. So is the time that is returned.
        """

    @abstractmethod
    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        """Return E[x_0 | x_t], of the shape of ``x_t``, from the output of the network."""

    def with_time_shift(self, tokens: int) -> "Parameterization":
        """Return the parameterization for states of so many tokens, if its times depend on it."""
        return self


class Discrete(Parameterization):
    """Networks of N steps: time t is step N t - 1, fractions included, and at least step 0.

    With kind ``epsilon``, x_0 = (x_t - sigma_t out) / alpha_t; with kind ``v_prediction``,
    x_0 = (alpha_t x_t - sigma_t out) / (alpha_t^2 + sigma_t^2); with kind ``sample``, x_0 = out.

    Arguments:
        alphas_cumprod: The products of 1 - beta up to each step, of shape ``(N,)``.
        kind: What the network predicts: ``epsilon``, ``v_prediction`` or ``sample``.
        scale: What the step is multiplied by.
        consistency: Whether the network was distilled to a consistency function.
    """

    def __init__(
        self,
        alphas_cumprod: Tensor,
        kind: Kind | str = "epsilon",
        scale: float = 1.0,
        consistency: bool = False,
    ) -> None:
        if kind not in KINDS:
            raise SettingError(f"no prediction {literal(kind)}; there are {', '.join(KINDS)}")
        self.schedule = Tabulated(alphas_cumprod=alphas_cumprod)
        self.kind = kind
        self.steps = len(alphas_cumprod)
        self.scale = scale
        self.consistency = consistency

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_t, (t * self.steps - 1).clamp_min(0) * self.scale

    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        alpha_t, sigma_t = self.schedule(t)
        if self.kind == "epsilon":
            return (x_t - sigma_t * out) / alpha_t
        if self.kind == "v_prediction":
            return (alpha_t * x_t - sigma_t * out) / (alpha_t**2 + sigma_t**2)
        return out


class Mean(Discrete):
    """Networks of N steps that say mu, the mean E[x_s | x_t] of the state one step before.

    At the first step, and below it, this is E[x_0 | x_t] itself. "Denoising Diffusion Probabilistic
    Models" (Ho et al., 2020), sec. 3.2, https://arxiv.org/abs/2006.11239.

    Arguments:
        alphas_cumprod: The products of 1 - beta up to each step, of shape ``(N,)``.
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        super().__init__(alphas_cumprod)

    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        return convert(out, "mu", "x_0", x_t, self.place(t))

    def place(self, t: Tensor) -> Place:
        """Return alpha and sigma at times t, and one step before."""
        s = (t - 1 / self.steps).clamp_min(0)
        clean = s * self.steps < 0.5
        alpha_s, sigma_s = self.schedule(s)
        before = alpha_s.where(~clean, 1.0), sigma_s.where(~clean, 0.0)
        alpha_t, sigma_t = self.schedule(t)
        return Place(alpha=alpha_t, sigma=sigma_t, earlier=before)


class Score(Parameterization):
    """Scores of images in [0, 1] under exploding noise: x_0 = x_t + sigma_t^2 out / 2.

    "Score-Based Generative Modeling through Stochastic Differential Equations" (Song et al., 2021),
    https://arxiv.org/abs/2011.13456. Noise levels in [-1, 1] are twice those that the network
    takes.

    Arguments:
        sigma_min, sigma_max: Noise levels of the training, in [0, 1] units.
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 1348.0) -> None:
        self.schedule = Geometric(sigma_min=2 * sigma_min, sigma_max=2 * sigma_max)
        self.levels = sigma_min, sigma_max

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return (x_t + 1) / 2, self.schedule(t)[1] / 2

    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        return x_t + self.schedule(t)[1] ** 2 * out / 2


class Karras(Parameterization):
    """x_0 = c_skip x + c_out out, with x = x_t / alpha_t; the network takes c_in x and c_noise.

    The factors are those of ``scalings`` at sigma = sigma_t / alpha_t; c_out < 0 for
    ``v_prediction``. "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et
    al., 2022), table 1, https://arxiv.org/abs/2206.00364.

    Arguments:
        sigma_min, sigma_max: Noise levels of the training, in [-1, 1] units.
        sigma_data: Standard deviation of the data.
        kind: ``epsilon`` or ``v_prediction``.
        schedule: The schedule of the states; by default ``EDM`` between the two levels.
    """

    def __init__(
        self,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        kind: Kind | str = "epsilon",
        schedule: Schedule | None = None,
    ) -> None:
        if kind not in ("epsilon", "v_prediction"):
            raise SettingError(f"no prediction {literal(kind)}; there are epsilon, v_prediction")
        self.schedule = schedule or EDM(sigma_min=sigma_min, sigma_max=sigma_max)
        self.sigma_min = sigma_min
        self.sigma_data = sigma_data
        self.sign = 1 if kind == "epsilon" else -1

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self._sigma(x_t, t)
        c_in = scalings(sigma, self.sigma_data)[2]
        return c_in * (x_t / self.schedule(t)[0]), sigma.log() / 4

    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        c_skip, c_out, _ = scalings(self._sigma(x_t, t), self.sigma_data)
        return c_skip * (x_t / self.schedule(t)[0]) + self.sign * c_out * out

    def _sigma(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the noise level in the dtype of the states, within those of the training."""
        alpha_t, sigma_t = self.schedule(t)
        return (sigma_t / alpha_t).clamp_min(self.sigma_min).to(x_t.dtype)


class VP(Parameterization):
    """x_0 = x_t - sigma_t out; the network takes x_t / sqrt(sigma_t^2 + 1) and 999 tau.

    tau = (sqrt(beta_min^2 + 2 beta_d log(1 + sigma_t^2)) - beta_min) / beta_d is the time of the VP
    SDE at that noise level; Karras et al. (2022), table 1.
    """

    def __init__(self, beta_d: float = 19.9, beta_min: float = 0.1, steps: int = 1000) -> None:
        ends = [math.expm1(beta_d * tau**2 / 2 + beta_min * tau) ** 0.5 for tau in (1e-5, 1.0)]
        self.schedule = EDM(sigma_min=ends[0], sigma_max=ends[1])
        self.beta_d = beta_d
        self.beta_min = beta_min
        self.steps = steps

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.schedule(t)[1]
        root = (self.beta_min**2 + 2 * self.beta_d * (sigma**2).log1p()).sqrt()
        tau = (root - self.beta_min) / self.beta_d
        return x_t / (sigma**2 + 1).sqrt(), (self.steps - 1) * tau

    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        return x_t - self.schedule(t)[1] * out


class VE(Parameterization):
    """x_0 = x_t + sigma_t out; the network takes x_t and log(sigma_t / 2).

    Karras et al. (2022), table 1.
    """

    def __init__(self, sigma_min: float = 0.02, sigma_max: float = 100.0) -> None:
        self.schedule = EDM(sigma_min=sigma_min, sigma_max=sigma_max)

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_t, (self.schedule(t)[1] / 2).log()

    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        return x_t + self.schedule(t)[1] * out


class Consistency(Parameterization):
    """The end of the flow from x_t, which is a sample, not the mean.

    x_0 = c_skip x_t + c_out out, with d = sigma_t - sigma_min, c_skip = s^2 / (d^2 + s^2),
    c_out = d s / sqrt(sigma_t^2 + s^2), s = sigma_data.

    "Consistency Models" (Song et al., 2023), app. C, https://arxiv.org/abs/2303.01469.

    Arguments:
        sigma_min, sigma_max: Noise levels of the training, in [-1, 1] units.
        sigma_data: Standard deviation of the data.
        scale: The network takes the time ``scale`` log(sigma): 250 is that of the paper, 1/4 that
            of ``Karras``, so that a network can begin as a copy of one.
    """

    def __init__(
        self,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        scale: float = 250.0,
    ) -> None:
        self.schedule = EDM(sigma_min=sigma_min, sigma_max=sigma_max)
        self.consistency = True
        self.sigma_data = sigma_data
        self.scale = scale

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.schedule(t)[1]
        return x_t / (sigma**2 + self.sigma_data**2).sqrt(), self.scale * sigma.log()

    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        sigma = self.schedule(t)[1]
        s = self.sigma_data
        d = sigma - self.schedule(torch.zeros_like(t))[1]  # exactly 0 at t = 0
        return s**2 / (d**2 + s**2) * x_t + d * s / (sigma**2 + s**2).sqrt() * out


class Flow(Parameterization):
    """Velocities eps - x_0 of the straight path: x_0 = x - s out.

    x = x_t / (alpha_t + sigma_t) lies on the path at s = sigma_t / (alpha_t + sigma_t).
    "Flow Straight and Fast" (Liu et al., 2022), https://arxiv.org/abs/2209.03003.

    Arguments:
        steps: The step that the network takes at s = 1.
        shift: The shift of the schedule.
        growth: The shift as a function of the number of tokens, if it depends on the image size.
    """

    def __init__(
        self,
        steps: int = 1000,
        shift: float = 1.0,
        growth: Callable[[int], float] | None = None,
    ) -> None:
        self.schedule = Rectified(shift=shift)
        self.steps = steps
        self.growth = growth

    def with_time_shift(self, tokens: int) -> "Flow":
        return Flow(self.steps, self.growth(tokens), self.growth) if self.growth else self

    def _place(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha_t, sigma_t = self.schedule(t)
        total = alpha_t + sigma_t
        return x_t / total, sigma_t / total

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x, s = self._place(x_t, t)
        return x, self.steps * s

    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        x, s = self._place(x_t, t)
        return x - s * out


class Drawn(Parameterization):
    """Draws of x_0 in N steps: the network takes x_t, a noise of its own beside it, and N t.

    "Tackling the Generative Learning Trilemma with Denoising Diffusion GANs" (Xiao et al., 2022),
    https://arxiv.org/abs/2112.07804. Only the times 1/N, 2/N, ..., 1 are known to it.

    Arguments:
        steps: N.
    """

    def __init__(self, steps: int = 4) -> None:
        self.schedule = LinearBeta()
        self.draws = True
        self.steps = steps

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_t, self.steps * t

    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        return out


class Bits(Parameterization):
    """Log-odds of bits: x_0 = sigmoid(out); the network takes 2 x_t - 1 and N t.

    Bits keep their value with weight alpha_t, as ``BernoulliDiffusion`` has it.

    Arguments:
        steps: N, the time that the network takes at t = 1.
    """

    def __init__(self, steps: int = 100) -> None:
        self.schedule = Cosine()
        self.binary = True
        self.steps = steps

    def inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * x_t - 1, self.steps * t

    def denoised(self, x_t: Tensor, t: Tensor, out: Tensor) -> Tensor:
        return out.sigmoid()


def scalings(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return c_skip, c_out and c_in of Karras et al. (2022), table 1, of the shape of ``sigma``."""
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), total.rsqrt()


def karras(
    network: Callable[..., Tensor],
    x: Tensor,
    sigma: Tensor,
    sigma_data: float,
    labels: Tensor | None = None,
) -> Tensor:
    """Return D(x; sigma) = c_skip x + c_out F(c_in x, log(sigma) / 4), the estimate of x_0.

    Unlike ``Karras``, it takes a noise level for each row, as training needs it.

    Arguments:
        network: F, a map from states ``(B, *shape)`` and levels ``(B,)`` to states.
        x: x_0 + sigma eps, of shape ``(B, *shape)``.
        sigma: Noise levels, of shape ``(B,)``.
        sigma_data: Standard deviation of x_0.
        labels: The class of each row, of shape ``(B,)``, for a network with classes.
    """
    c_skip, c_out, c_in = scalings(sigma.reshape(-1, *[1] * (x.ndim - 1)), sigma_data)
    classes = () if labels is None else (labels,)
    return c_skip * x + c_out * network(c_in * x, sigma.log() / 4, *classes).to(x.dtype)


def linear_table(steps: int = 1000) -> Tensor:
    """Return the products of 1 - beta for betas from 0.1 / N to 20 / N, as DDPM with N = 1000.

    Of fewer than 21 steps the last of these betas would be 1 or more. Their products are those of
    the limit of many steps at the same times, exp(-0.1 t - 9.95 t^2).
    """
    if steps <= FEW:
        t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        return (-0.1 * t - 9.95 * t**2).exp()
    betas = torch.linspace(0.1 / steps, 20 / steps, steps, dtype=torch.float64)
    return (1 - betas).cumprod(0)


def cosine_table(steps: int = 1000) -> Tensor:
    """Return the products of 1 - beta of improved diffusion, with beta at most 0.999.

    "Improved Denoising Diffusion Probabilistic Models" (Nichol and Dhariwal, 2021), eq. 17,
    https://arxiv.org/abs/2102.09672.
    """
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    f = ((t + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    return (f[1:] / f[:-1]).clamp_min(0.001).cumprod(0)
