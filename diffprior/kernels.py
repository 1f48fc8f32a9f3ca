"""Distributions of a state, and how a likelihood tilts them.

Gaussians and bits are exponential families: to multiply one by r(x), to first order in log r, is
to add the score of r to its natural parameter. That is ``tilt``, the perturbed reverse kernel of
"Deep Unsupervised Learning using Nonequilibrium Thermodynamics" (Sohl-Dickstein et al., 2015),
sec. 2.5, https://arxiv.org/abs/1503.03585.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from .bands import in_bands
from .errors import UnsuitedError
from .random import Noise
from .solvers import row_sums

__all__ = ["BernoulliKernel", "GaussianKernel", "Kernel", "RotatedKernel", "SplicedKernel"]


class Kernel(ABC):
    """A distribution of each state of a batch, such as p(x_s | x_t): a step of a chain.

    Diffusions and priors return kernels, and samplers draw from them. ``tilt`` multiplies a kernel
    p(x) by a function r(x), such as a likelihood, to first order: p(x) r(x), up to a constant, with
    log r(x) taken as linear about the mean. For N(loc, var) the result is N(loc + var score, var).

    Shapes: a batch of states is ``(B, *shape)``, and log-densities are ``(B,)``.

    Example:
        >>> import torch
        >>> from diffprior.random import Noise
        >>> kernel = GaussianKernel(torch.zeros(2, 3), torch.tensor(0.25))
        >>> kernel.sample(Noise(seed=0, ids=["a", "b"])).shape
        torch.Size([2, 3])
        >>> kernel.tilt(score=torch.ones(2, 3)).mean[0]
        tensor([0.2500, 0.2500, 0.2500])
    """

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """Return the mean of each state, of shape ``(B, *shape)``."""

    @abstractmethod
    def sample(self, noise: Noise) -> Tensor:
        """Draw one state a row, each from its own stream."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of each state, of shape ``(B,)``."""

    @abstractmethod
    def tilt(self, score: Tensor) -> Self:
        """Return the kernel times a function whose log has the gradient ``score`` at the mean.

        Arguments:
            score: Of the shape of a batch of states.
        """

    def kl(self, other: "Kernel") -> Tensor:
        """Return the Kullback-Leibler divergence to a kernel of the same kind, ``(B,)``, in nats.

        Raises:
            UnsuitedError: If there is no formula for these kernels.
        """
        raise UnsuitedError(f"no divergence from a {_kind(self)} to a {_kind(other)} is known")

    def entropy(self) -> Tensor:
        """Return the entropy of each state in nats, of shape ``(B,)``.

        Raises:
            UnsuitedError: If there is no formula for this kernel.
        """
        raise UnsuitedError(f"no entropy of a {_kind(self)} is known")


def _kind(kernel: Kernel) -> str:
    return type(kernel).__name__


@dataclass(frozen=True)
class GaussianKernel(Kernel):
    """N(loc, var), with ``var`` of any shape that broadcasts to ``loc``; tilt: loc += var score."""

    loc: Tensor
    var: Tensor

    @property
    def mean(self) -> Tensor:
        return self.loc

    def sample(self, noise: Noise) -> Tensor:
        z = noise.normal(self.loc)
        return in_bands(lambda z, loc, var: loc + var.sqrt() * z, z, self.loc, self.var, into=z)

    def log_prob(self, x: Tensor) -> Tensor:
        log_p = (x - self.loc) ** 2 / self.var + (2 * torch.pi * self.var).log()
        return -log_p.flatten(1).sum(1) / 2

    def tilt(self, score: Tensor) -> Self:
        return type(self)(self.loc + self.var * score, self.var)

    def kl(self, other: Kernel) -> Tensor:
        if not isinstance(other, GaussianKernel):
            return super().kl(other)
        d = self.loc - other.loc.to(self.loc)
        ratio = self.var / other.var
        return row_sums((ratio - 1 - ratio.log() + d * d / other.var).expand_as(d)) / 2

    def entropy(self) -> Tensor:
        return row_sums((2 * torch.pi * torch.e * self.var).log().expand_as(self.loc)) / 2


@dataclass(frozen=True)
class RotatedKernel(Kernel):
    """V z with z ~ inner and V orthonormal: a Gaussian that is diagonal in another basis.

    Arguments:
        inner: The kernel of z.
        turn: x -> V^T x.
        back: z -> V z.
    """

    inner: GaussianKernel
    turn: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]

    @property
    def mean(self) -> Tensor:
        return self.back(self.inner.mean)

    def sample(self, noise: Noise) -> Tensor:
        return self.back(self.inner.sample(noise))

    def log_prob(self, x: Tensor) -> Tensor:
        return self.inner.log_prob(self.turn(x))

    def tilt(self, score: Tensor) -> Self:
        return type(self)(self.inner.tilt(self.turn(score)), self.turn, self.back)


@dataclass(frozen=True)
class SplicedKernel(Kernel):
    """phi u + (1 - phi) v with u ~ data and v ~ rest, phi an orthogonal projection.

    Arguments:
        data, rest: Gaussians of one variance each.
        phi: x -> phi x.
    """

    data: GaussianKernel
    rest: GaussianKernel
    phi: Callable[[Tensor], Tensor]

    @property
    def mean(self) -> Tensor:
        return self.rest.mean + self.phi(self.data.mean - self.rest.mean)

    def sample(self, noise: Noise) -> Tensor:
        v = self.rest.sample(noise)
        u = self.data.sample(noise)
        d = in_bands(torch.sub, u, v, into=u)
        return in_bands(torch.add, v, self.phi(d), into=v)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of each state, up to a constant, as the rank of phi is unknown."""
        d = x - self.mean
        d_data = self.phi(d)
        log_p = d_data**2 / self.data.var + (d - d_data) ** 2 / self.rest.var
        return -log_p.flatten(1).sum(1) / 2

    def tilt(self, score: Tensor) -> Self:
        return type(self)(self.data.tilt(score), self.rest.tilt(score), self.phi)


@dataclass(frozen=True)
class BernoulliKernel(Kernel):
    """Independent bits with log-odds ``logits``; tilt: logits += score.

    For r(x) = d^x (1 - d)^(1 - x) this is exactly c d / (c d + (1 - c)(1 - d)).
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def sample(self, noise: Noise) -> Tensor:
        return (noise.uniform(self.logits) < self.mean).to(self.logits.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        log_p = x * F.logsigmoid(self.logits) + (1 - x) * F.logsigmoid(-self.logits)
        return log_p.flatten(1).sum(1)

    def tilt(self, score: Tensor) -> Self:
        return type(self)(self.logits + score)

    def kl(self, other: Kernel) -> Tensor:
        if not isinstance(other, BernoulliKernel):
            return super().kl(other)
        logits = other.logits.to(self.logits)
        one = F.logsigmoid(self.logits) - F.logsigmoid(logits)
        zero = F.logsigmoid(-self.logits) - F.logsigmoid(-logits)
        return row_sums(self.mean * one + (1 - self.mean) * zero)

    def entropy(self) -> Tensor:
        one, zero = F.logsigmoid(self.logits), F.logsigmoid(-self.logits)
        return -row_sums(self.mean * one + (1 - self.mean) * zero)
