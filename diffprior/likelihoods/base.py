"""The interface of likelihoods: an operator, its noise and the measurement, bound together."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar, cast

import torch
from torch import Tensor

from ..bands import bands, is_large, rows_of
from ..operators.base import Composed, Operator
from ..random import Noise

__all__ = ["ConditionableLikelihood", "Likelihood"]

O = TypeVar("O", bound=Operator, covariant=True)  # noqa: E741 (the operator, as in the papers)


@dataclass(frozen=True, kw_only=True)
class Likelihood(ABC, Generic[O]):
    """p(y | x) for one measurement y, or for a batch of them, as a function of x.

    y is A x with noise; A is the operator and a subclass says what the noise is. A subclass
    overrides ``log_prob``, whose gradient ``score`` guides the methods, and ``sample``, which
    simulates measurements.

    Shapes: states x are ``(B, *shape)`` and measurements y are ``(B, *)``, row by row.

    Arguments:
        operator: A.
        y: Measurements, of shape ``(B, *)``. A method takes one of shape ``(*)`` as a batch of
            one. Leave it out to simulate measurements with ``measure``.

    Example:
        >>> import torch
        >>> from diffprior.likelihoods import GaussianLikelihood
        >>> from diffprior.operators.mask import Mask
        >>> from diffprior.random import Noise
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> keep = torch.tensor([1.0, 0.0])  # the second entry is not measured
        >>> likelihood = GaussianLikelihood(operator=Mask(keep), sigma=0.1).measure(x, Noise(0))
        >>> likelihood.y.shape, likelihood.score(x).shape
        (torch.Size([1, 2]), torch.Size([1, 2]))
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
        """Return the same likelihood with measurements of states x, drawn by ``sample``."""
        return replace(self, y=self.sample(x, noise))

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of ``log_prob``, of the shape of ``x``."""
        return _gradient(self.log_prob, x)

    def through(self, decode: Callable[[Tensor], Tensor]) -> "Likelihood[Composed]":
        """Return p(y | decode(z)), a likelihood of z."""
        operator = Composed(self.operator, decode)
        return cast("Likelihood[Composed]", replace(cast(Any, self), operator=operator))

    def select(self, index: Tensor) -> Self:
        """Return the likelihood of some images of the batch, in this order; they may repeat."""
        return replace(self, operator=self.operator.select(index), y=rows_of(self.y, index))


@dataclass(frozen=True, kw_only=True)
class ConditionableLikelihood(Likelihood[O], ABC):
    """A likelihood under which E[x | y] is known for a prior x ~ N(x_0, var I) and a linear A.

    Methods that move an estimate x_0 to the data by ``condition``, or down the squared
    ``residual``, work with any such likelihood. A subclass overrides ``residual`` and
    ``condition_at_once``.
    """

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise; 0 for data that an answer has to agree with."""
        return 0.0

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """Return how far A x is from the data, y - A x for exact ones, of the shape of y."""

    def condition(self, x_0: Tensor, var: Tensor | float) -> Tensor:
        """Return E[x | y] under x ~ N(x_0, var I), of the shape of ``x_0``, for a linear A.

        Large images are taken in parts that are measured by themselves, if there are such.
        """
        if not is_large(x_0):
            return self.condition_at_once(x_0, var)
        x = torch.empty_like(x_0)
        for part, at in self.parts(x_0):
            x[at] = part.condition_at_once(x_0[at], var)
        return x

    @abstractmethod
    def condition_at_once(self, x_0: Tensor, var: Tensor | float) -> Tensor:
        """Return the mean that ``condition`` returns, of the whole of x."""

    def parts(self, x: Tensor) -> Iterator[tuple[Self, Any]]:
        """Yield the likelihood of parts of states that are measured by themselves, and where.

        Parts are bands of large images ``(B, C, H, W)``, or their channels. Small states are one
        part, and so are all whose operator measures no part by itself.
        """
        A: Operator = self.operator
        if is_large(x) and A.grain:
            for rows in bands(x, A.grain):
                operator, y = A.band(rows, self.y)
                yield self._part(operator, y), (..., rows, slice(None))
        elif is_large(x) and A.by_channel:
            for c in range(x.shape[1]):
                at = slice(None), slice(c, c + 1)
                yield self._part(A, self.y[at]), at
        else:
            yield self, slice(None)

    def _part(self, operator: Operator, y: Tensor) -> Self:
        return cast(Self, replace(cast(Any, self), operator=operator, y=y))

    def mean_square(self, x: Tensor) -> Tensor:
        """Return the mean of the squared residual over what was measured, of shape ``(B,)``."""
        return self.residual(x).flatten(1).square().sum(1) / self.measured_count()

    def descent(self, x: Tensor) -> Tensor:
        """Return -d/dx ||residual(x)||^2 / 2, of the shape of ``x``."""
        return _gradient(lambda x: -self.residual(x).flatten(1).square().sum(1) / 2, x)

    def measured_count(self) -> Tensor:
        """Return how many numbers of each y were measured, at least 1, of shape ``(B,)``."""
        return self.unclamped_count().clamp_min(1)

    def unclamped_count(self) -> Tensor:
        """Return how many numbers of each y were measured, of shape ``(B,)``."""
        ones = torch.ones_like(self.y)
        return self.operator.mask_unmeasured(ones).flatten(1).sum(1)


def _gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(function(leaf).sum(), leaf)[0]
