"""Forward diffusions: the kernels that noise a state, and those back to it, in closed form."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .bands import in_bands
from .errors import UnsuitedError
from .kernels import BernoulliKernel, GaussianKernel, Kernel
from .schedules import Cosine, Schedule

__all__ = ["BernoulliDiffusion", "Diffusion", "GaussianDiffusion"]


@dataclass(frozen=True)
class Diffusion(ABC):
    """A chain of states from clean, x_0, to pure noise, x_1, whose kernels need no data.

    ``noise`` is q(x_t | x_0), ``jump`` is q(x_t | x_s) for s < t, ``bridge`` is q(x_s | x_t, x_0)
    back in time, and ``terminal`` is p(x_1). A sampler draws x_s from the bridge with a prior's
    estimate E[x_0 | x_t] in place of x_0.

    Shapes: states are ``(B, *shape)``; times are tensors without axes, one for the whole batch.

    Arguments:
        schedule: How much signal and noise a state has at time t.

    Example:
        >>> import torch
        >>> from diffprior.random import Noise
        >>> diffusion = GaussianDiffusion()
        >>> x_0, t, s = torch.ones(1, 4), torch.tensor(0.5), torch.tensor(0.4)
        >>> x_t = diffusion.noise(x_0, t).sample(Noise(seed=0))
        >>> diffusion.bridge(x_t, x_0, t, s).sample(Noise(seed=1)).shape
        torch.Size([1, 4])
    """

    schedule: Schedule = field(default_factory=Cosine)

    @abstractmethod
    def noise(self, x_0: Tensor, t: Tensor) -> Kernel:
        """Return q(x_t | x_0)."""

    @abstractmethod
    def jump(self, x_s: Tensor, s: Tensor, t: Tensor) -> Kernel:
        """Return q(x_t | x_s), for s < t."""

    @abstractmethod
    def bridge(self, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Kernel:
        """Return q(x_s | x_t, x_0) for s < t.

        Arguments:
            eta: Share of its standard deviation that is kept, in [0, 1]; 0 is deterministic.
        """

    def renoise(self, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Kernel:
        """Return q(x_s | x_0) with the share ``eta`` of its noise fresh, for a sampled x_0.

        Raises:
            UnsuitedError: If this diffusion has no such kernel.
        """
        raise UnsuitedError(f"{type(self).__name__} cannot keep a share of the noise of x_t")

    @abstractmethod
    def terminal(self, shape: Sequence[int]) -> Kernel:
        """Return p(x_1) for a batch of states of shape ``shape``."""


@dataclass(frozen=True)
class GaussianDiffusion(Diffusion):
    """x_t = alpha_t x_0 + sigma_t eps; the bridge is eq. 7 of DDIM.

    With tau = eta^2 (1 - (alpha_t sigma_s / (alpha_s sigma_t))^2) and
    eps = (x_t - alpha_t x_0) / sigma_t, the bridge is
    N(alpha_s x_0 + sigma_s sqrt(1 - tau) eps, tau sigma_s^2). At eta = 1 it is the posterior of the
    forward chain; at eta = 0 a step of the probability flow, which also runs upwards
    (Song et al., 2021, https://arxiv.org/abs/2010.02502).
    """

    def noise(self, x_0: Tensor, t: Tensor) -> GaussianKernel:
        alpha_t, sigma_t = self.schedule(t)
        return GaussianKernel(alpha_t * x_0, sigma_t**2)

    def jump(self, x_s: Tensor, s: Tensor, t: Tensor) -> GaussianKernel:
        (alpha_s, sigma_s), (alpha_t, sigma_t) = self.schedule(s), self.schedule(t)
        ratio = alpha_t / alpha_s
        return GaussianKernel(ratio * x_s, sigma_t**2 - ratio**2 * sigma_s**2)

    def bridge(
        self, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor, eta: float = 1.0
    ) -> GaussianKernel:
        (alpha_s, sigma_s), (alpha_t, sigma_t) = self.schedule(s), self.schedule(t)
        tau = eta**2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)

        def loc(x_t: Tensor, x_0: Tensor) -> Tensor:
            eps = (x_t - alpha_t * x_0) / sigma_t
            return alpha_s * x_0 + sigma_s * (1 - tau).sqrt() * eps

        return GaussianKernel(in_bands(loc, x_t, x_0), tau * sigma_s**2)

    def renoise(
        self, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor, eta: float = 1.0
    ) -> GaussianKernel:
        """Return N(alpha_s x_0 + sigma_s sqrt(1 - eta^2) eps, eta^2 sigma_s^2).

        It is the strategic stochastic sampling of "Trajectory Consistency Distillation" (Zheng et
        al., 2024), https://arxiv.org/abs/2402.19159, with gamma = eta.
        """
        (alpha_s, sigma_s), (alpha_t, sigma_t) = self.schedule(s), self.schedule(t)

        def loc(x_t: Tensor, x_0: Tensor) -> Tensor:
            eps = (x_t - alpha_t * x_0) / sigma_t
            mean: Tensor = alpha_s * x_0 + (1 - eta**2) ** 0.5 * sigma_s * eps
            return mean

        return GaussianKernel(in_bands(loc, x_t, x_0), eta**2 * sigma_s**2)

    def terminal(self, shape: Sequence[int]) -> GaussianKernel:
        _, sigma = self.schedule(torch.ones((), dtype=torch.float64))
        return GaussianKernel(torch.zeros(*shape), sigma**2)


@dataclass(frozen=True)
class BernoulliDiffusion(Diffusion):
    """Bits that keep their value with weight alpha_t and are coin flips otherwise.

    The binomial diffusion of Sohl-Dickstein et al. (2015), app. B.1, https://arxiv.org/abs/1503.03585.
    """

    def noise(self, x_0: Tensor, t: Tensor) -> BernoulliKernel:
        alpha_t, _ = self.schedule(t)
        return BernoulliKernel((alpha_t * x_0 + (1 - alpha_t) / 2).logit(eps=1e-7))

    def jump(self, x_s: Tensor, s: Tensor, t: Tensor) -> BernoulliKernel:
        ratio = self.schedule(t)[0] / self.schedule(s)[0]
        return BernoulliKernel((ratio * x_s + (1 - ratio) / 2).logit(eps=1e-7))

    def bridge(
        self, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor, eta: float = 1.0
    ) -> BernoulliKernel:
        if eta != 1.0:
            raise UnsuitedError(f"bits have no eta but 1 (they cannot keep their noise), got {eta}")
        alpha_s, alpha_t = self.schedule(s)[0], self.schedule(t)[0]
        ratio = alpha_t / alpha_s
        up = ratio * x_t + (1 - ratio) / 2  # q(x_t | x_s = 1)
        down = ratio * (1 - x_t) + (1 - ratio) / 2  # q(x_t | x_s = 0)

        def one(bit: float) -> Tensor:  # q(x_s = 1 | x_t, x_0 = bit)
            p = alpha_s * bit + (1 - alpha_s) / 2
            return up * p / (up * p + down * (1 - p))

        p = x_0 * one(1.0) + (1 - x_0) * one(0.0)
        return BernoulliKernel(p.logit(eps=1e-7))

    def terminal(self, shape: Sequence[int]) -> BernoulliKernel:
        return BernoulliKernel(torch.zeros(*shape))
