"""Factorized distributions of a state, and how a likelihood tilts them.

Both families are exponential, so to multiply one by r(x), to first order in log r, is to add the
score of r to the natural parameter. That one sentence is ``tilt``, the perturbed reverse kernel of
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

from .random import Noise

__all__ = ["BernoulliKernel", "GaussianKernel", "Kernel", "RotatedKernel", "SplicedKernel"]


class Kernel(ABC):
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
        """Multiply by a function whose log has this gradient at the mean."""


@dataclass(frozen=True)
class GaussianKernel(Kernel):
    """N(loc, var), with ``var`` of any shape that broadcasts to ``loc``; tilt: loc += var score."""

    loc: Tensor
    var: Tensor

    @property
    def mean(self) -> Tensor:
        return self.loc

    def sample(self, noise: Noise) -> Tensor:
        return self.loc + self.var.sqrt() * noise.normal(self.loc)

    def log_prob(self, x: Tensor) -> Tensor:
        log_p = (x - self.loc) ** 2 / self.var + (2 * torch.pi * self.var).log()
        return -log_p.flatten(1).sum(1) / 2

    def tilt(self, score: Tensor) -> Self:
        return type(self)(self.loc + self.var * score, self.var)


@dataclass(frozen=True)
class RotatedKernel(Kernel):
    """V z with z ~ inner, V orthonormal: a Gaussian that is diagonal in another basis.

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
    """phi u + (1 - phi) v with u ~ seen and v ~ rest, phi an orthogonal projection.

    Arguments:
        seen, rest: Gaussians of one variance each.
        phi: x -> phi x.
    """

    seen: GaussianKernel
    rest: GaussianKernel
    phi: Callable[[Tensor], Tensor]

    @property
    def mean(self) -> Tensor:
        return self.rest.mean + self.phi(self.seen.mean - self.rest.mean)

    def sample(self, noise: Noise) -> Tensor:
        v = self.rest.sample(noise)
        return v + self.phi(self.seen.sample(noise) - v)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of each state, up to a constant: the rank of phi is not known."""
        d = x - self.mean
        d_seen = self.phi(d)
        log_p = d_seen**2 / self.seen.var + (d - d_seen) ** 2 / self.rest.var
        return -log_p.flatten(1).sum(1) / 2

    def tilt(self, score: Tensor) -> Self:
        return type(self)(self.seen.tilt(score), self.rest.tilt(score), self.phi)


@dataclass(frozen=True)
class BernoulliKernel(Kernel):
    """Independent bits with these log-odds; tilt: logits += score.

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
