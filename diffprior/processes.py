"""Diffusions in continuous time: the stochastic equation of a schedule, and its two ways back.

The states x_t = alpha_t x_0 + sigma_t eps of a schedule are the solutions of

    dx = f(t) x dt + g(t) dw,  f = d log alpha / dt,  g^2 = d sigma^2 / dt - 2 f sigma^2.

Backwards in time the same states solve the reverse equation, which draws noise, and the
probability flow, which draws none. "Score-Based Generative Modeling through Stochastic Differential
Equations" (Song et al., 2021), https://arxiv.org/abs/2011.13456.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from .errors import SettingError
from .kernels import GaussianKernel
from .random import Noise
from .schedules import Geometric, LinearBeta, Schedule, SubVP, Tabulated, pairs
from .validation import Within, check, literal

__all__ = ["SDE", "Chain", "Name", "sde"]

Name = Literal["ve", "vp", "sub_vp", "ddpm"]
Estimate = Callable[[Tensor, Tensor], Tensor]  # takes x_t and t, returns E[x_0 | x_t]: a prior


@dataclass(frozen=True)
class SDE:
    """The equation dx = f(t) x dt + g(t) dw of a schedule.

    Shapes: states are ``(B, *shape)``; times are tensors without axes, one for the whole batch.

    Arguments:
        schedule: How much signal and noise a state has at time t.

    Example:
        >>> import torch
        >>> f, g2 = sde("ve").rates(torch.tensor(0.5, dtype=torch.float64))
        >>> f == 0, g2 > 0
        (tensor(True), tensor(True))
    """

    schedule: Schedule

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(t) and g(t)^2, in float64, by the derivatives of the schedule."""
        with torch.enable_grad():
            u = t.detach().double().clone().requires_grad_()
            alpha, sigma = self.schedule(u)
            none = 0 * u  # of a schedule that is constant, and so has no gradient
            (f,) = torch.autograd.grad((alpha.log() + none).sum(), u, retain_graph=True)
            (slope,) = torch.autograd.grad((sigma**2 + none).sum(), u)
        return f, slope - 2 * f * sigma.detach() ** 2

    def forward_step(self, x_s: Tensor, s: Tensor, t: Tensor) -> GaussianKernel:
        """Return the Euler-Maruyama step of the forward equation, from time s to t > s."""
        f, g2 = self.rates(s)
        dt = t - s
        return GaussianKernel(x_s + f * dt * x_s, g2 * dt)

    def reverse_step(self, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> GaussianKernel:
        """Return the Euler-Maruyama step of the reverse equation, from time t to s < t.

        dx = (f x - g^2 score) dt + g dw, with time running down.

        Arguments:
            x_0: E[x_0 | x_t].
        """
        f, g2 = self.rates(t)
        dt = t - s
        return GaussianKernel(x_t - dt * (f * x_t - g2 * self.score(x_t, x_0, t)), g2 * dt)

    def flow(self, x_t: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        """Return dx/dt of the probability flow, f x - g^2 score / 2.

        Arguments:
            x_0: E[x_0 | x_t].
        """
        f, g2 = self.rates(t)
        return f * x_t - g2 / 2 * self.score(x_t, x_0, t)

    def score(self, x_t: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        """Return the gradient of log p(x_t), by Tweedie's formula.

        Arguments:
            x_0: E[x_0 | x_t].
        """
        alpha_t, sigma_t = self.schedule(t)
        return (alpha_t * x_0 - x_t) / sigma_t**2

    def simulate(self, x: Tensor, times: Tensor, noise: Noise) -> Tensor:
        """Return the states at the last of some rising times, by Euler-Maruyama from the first.

        Arguments:
            x: States at the first time.
            times: Of shape ``(steps + 1,)``.
        """
        for s, t in pairs(times):
            x = self.forward_step(x, s, t).sample(noise)
        return x

    def reverse(self, x: Tensor, times: Tensor, estimate: Estimate, noise: Noise) -> Tensor:
        """Return the states at the last of some falling times, by Euler-Maruyama from the first.

        Arguments:
            x: States at the first time.
            times: Of shape ``(steps + 1,)``.
            estimate: Returns E[x_0 | x_t] for x_t and t, as a prior does.
        """
        for t, s in pairs(times):
            x = self.reverse_step(x, estimate(x, t), t, s).sample(noise)
        return x


@dataclass(frozen=True, eq=False)
class Chain:
    """DDPM's chain of N steps: x_i = sqrt(1 - beta_i) x_(i-1) + sqrt(beta_i) eps, i from 1 to N.

    "Denoising Diffusion Probabilistic Models" (Ho et al., 2020), https://arxiv.org/abs/2006.11239.

    Arguments:
        betas: beta_1, ..., beta_N, of shape ``(N,)``, in (0, 1); those of DDPM are
            ``Chain.linear()``, 1e-4 to 0.02 in 1000.

    Raises:
        SettingError: If a beta lies elsewhere, or there is none.
    """

    betas: Tensor

    def __post_init__(self) -> None:
        if not len(self.betas) or not bool(((self.betas > 0) & (self.betas < 1)).all()):
            raise SettingError("the betas of a chain lie in (0, 1), and there is one at least")

    @classmethod
    def linear(cls, n: int = 1000) -> "Chain":
        """Return the chain with betas from 0.1 / N to 20 / N, DDPM's at N = 1000; N is above 20."""
        check("n", n, int, Within(21))
        return cls(torch.linspace(0.1 / n, 20 / n, n, dtype=torch.float64))

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """The products of 1 - beta up to each step, of shape ``(N,)``."""
        return (1 - self.betas.double()).cumprod(0)

    @cached_property
    def beta_tilde(self) -> Tensor:
        """The variances of q(x_(i-1) | x_i, x_0), of shape ``(N,)``; the first is 0."""
        before = torch.cat([self.betas.new_ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]])
        return (1 - before) / (1 - self.alphas_cumprod) * self.betas

    @property
    def schedule(self) -> Tabulated:
        """The schedule of this table; step i lies at t = i / N."""
        return Tabulated(alphas_cumprod=self.alphas_cumprod)

    def forward_step(self, x: Tensor, i: int) -> GaussianKernel:
        """Return q(x_i | x_(i-1)), i from 1 on."""
        self._check_step(i, 1)
        beta = self.betas[i - 1]
        return GaussianKernel((1 - beta).sqrt() * x, beta)

    def noise(self, x_0: Tensor, i: int) -> GaussianKernel:
        """Return q(x_i | x_0), i from 1 on."""
        self._check_step(i, 1)
        alpha2 = self.alphas_cumprod[i - 1]
        return GaussianKernel(alpha2.sqrt() * x_0, 1 - alpha2)

    def posterior(self, x_i: Tensor, x_0: Tensor, i: int) -> GaussianKernel:
        """Return q(x_(i-1) | x_i, x_0), with the variance beta_tilde; i from 2 on."""
        self._check_step(i, 2)
        alpha2, before = self.alphas_cumprod[i - 1], self.alphas_cumprod[i - 2]
        beta = self.betas[i - 1]
        loc = before.sqrt() * beta * x_0 + (1 - beta).sqrt() * (1 - before) * x_i
        return GaussianKernel(loc / (1 - alpha2), self.beta_tilde[i - 1])

    def _check_step(self, i: int, first: int) -> None:
        """Refuse a step that is none of the chain: an index below 1 would count from its end."""
        check("i, a step of the chain,", i, int, Within(first, len(self.betas)))

    def simulate(self, x_0: Tensor, noise: Noise) -> Tensor:
        """Return x_N, step by step."""
        x = x_0
        for i in range(1, len(self.betas) + 1):
            x = self.forward_step(x, i).sample(noise)
        return x


def sde(name: Name) -> SDE:
    """Return the equation that papers call ``ve``, ``vp``, ``sub_vp`` or ``ddpm``.

    ``ve`` has exploding noise, ``vp`` keeps the variance, ``sub_vp`` has less of it, and ``ddpm``
    is the limit of the discrete chain, log-linear between its steps.

    Raises:
        SettingError: If there is no such process.
    """
    if name not in get_args(Name):
        raise SettingError(f"no process {literal(name)}; there are {', '.join(get_args(Name))}")
    if name == "ddpm":
        return SDE(Chain.linear().schedule)
    return SDE({"ve": Geometric, "vp": LinearBeta, "sub_vp": SubVP}[name]())
