"""Likelihoods: an operator, its noise and one measurement, bound together as r(x) = p(y | x)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar, cast

import torch
from torch import Tensor

from ..operators.base import Composed, LinearOperator, Operator, SVDOperator
from ..random import Noise
from ..solvers import cg

__all__ = ["FlipLikelihood", "GaussianLikelihood", "Likelihood"]

O = TypeVar("O", bound=Operator, covariant=True)  # noqa: E741 (the operator, as in the papers)


@dataclass(frozen=True, kw_only=True)
class Likelihood(ABC, Generic[O]):
    """p(y | x) of one measurement, or of a batch of them.

    Arguments:
        operator: A.
        y: Measurements, of shape ``(B, *)``; one of shape ``(*)`` is taken as a batch of one by
            a method. Not given where they are still to be made: ``measure`` makes them.
    """

    operator: O
    y: Tensor = field(default_factory=lambda: torch.empty(0))

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(y | x) of each state, up to a constant, of shape ``(B,)``."""

    @abstractmethod
    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """Draw a y from p(y | x) for each state, with zeros where nothing is measured."""

    def measure(self, x: Tensor, noise: Noise) -> Self:
        """Return the same likelihood with measurements of these states, drawn by ``sample``."""
        return replace(self, y=self.sample(x, noise))

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of ``log_prob``, of the shape of ``x``."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(self.log_prob(leaf).sum(), leaf)[0]

    def behind(self, decode: Callable[[Tensor], Tensor]) -> "Likelihood[Composed]":
        """Return p(y | decode(z)), a likelihood of z."""
        operator = Composed(self.operator, decode)
        return cast("Likelihood[Composed]", replace(cast(Any, self), operator=operator))

    def take(self, index: Tensor) -> Self:
        """Return the likelihood of some pictures of the batch, in this order, repeats allowed."""
        return replace(self, operator=self.operator.take(index), y=self.y[index])


@dataclass(frozen=True, kw_only=True)
class GaussianLikelihood(Likelihood[O]):
    """y = A x + sigma eps.

    Arguments:
        sigma: Standard deviation of the noise, in the units of y (pictures: of [-1, 1], twice
            those of [0, 1]); 0 for exact data, which has no density but can be conditioned on.
    """

    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not self.sigma >= 0:
            raise ValueError(f"sigma is a standard deviation from 0 on, got {self.sigma}")

    def residual(self, x: Tensor) -> Tensor:
        """Return y - A x, with zeros where nothing was measured."""
        return self.operator.seen(self.y - self.operator(x))

    def log_prob(self, x: Tensor) -> Tensor:
        if self.sigma == 0:
            raise ValueError("exact data (sigma = 0) has no density: give sigma > 0")
        return -self.residual(x).flatten(1).square().sum(1) / (2 * self.sigma**2)

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        clean = self.operator(x)
        return self.operator.seen(clean + self.sigma * noise.normal(clean))

    def evidence(self, x_0: Tensor, var: Tensor | float) -> Tensor:
        """Return log p(y) under x ~ N(x_0, var I), up to a constant, for an A with an SVD."""
        A = cast(SVDOperator, self.operator)
        z = A.to_left(self.residual(x_0))
        total = var * A.s**2 + self.sigma**2
        return -torch.where(A.s > 0, z**2 / total, 0).flatten(1).sum(1) / 2

    def chi2(self, x: Tensor) -> Tensor:
        """Return ||y - A x||^2 / (m sigma^2) of each state, about 1 for one that explains y.

        A sigma below the rounding of numbers about 1 counts as that; 0 where nothing was measured.
        """
        m = self.operator.seen(torch.ones_like(self.y)).flatten(1).sum(1).clamp_min(1)
        sigma = max(self.sigma, torch.finfo(x.dtype).eps)
        return self.residual(x).flatten(1).square().sum(1) / (m * sigma**2)

    def weigh(self, r: Tensor, var: Tensor | float) -> Tensor:
        """Return A^T (var A A^T + sigma^2)^+ r, for a linear A."""
        A = cast(LinearOperator, self.operator)
        if isinstance(A, SVDOperator):
            total = var * A.s**2 + self.sigma**2
            gain = torch.where(A.s > 1e-6 * A.s.max(), A.s / total, 0)
            return A.from_spectrum(gain * A.to_left(r))
        return cg(lambda v: var * A.adjoint(A(v)) + self.sigma**2 * v, A.adjoint(r))

    def condition(self, x_0: Tensor, var: Tensor | float) -> Tensor:
        """Return E[x | y] under x ~ N(x_0, var I), for a linear A.

        x_0 + var A^T (var A A^T + sigma^2)^+ (y - A x_0)
        """
        return x_0 + var * self.weigh(self.residual(x_0), var)


@dataclass(frozen=True, kw_only=True)
class FlipLikelihood(Likelihood[O]):
    """Bits seen through a mask, each flipped with probability ``rate``; y is 0, 1, or 0.5 unseen.

    log p is extended from bits to [0, 1] linearly, so that its score is that of the log-odds.
    """

    rate: float = 0.1

    def log_prob(self, x: Tensor) -> Tensor:
        gain = torch.tensor((1 - self.rate) / self.rate).log()
        agree = (2 * self.y - 1) * self.operator(2 * x - 1)
        return gain / 2 * agree.flatten(1).sum(1)

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        sent = self.operator(2 * x - 1)
        return (1 + torch.where(noise.uniform(sent) < self.rate, -sent, sent)) / 2
