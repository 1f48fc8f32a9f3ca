"""What a measurement says about the clean image."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar, cast

import torch
from torch import Tensor

from ..operators.base import Composed, Operator
from ..random import Noise

__all__ = ["Likelihood"]

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

    def through(self, decode: Callable[[Tensor], Tensor]) -> "Likelihood[Composed]":
        """Return p(y | decode(z)), a likelihood of z."""
        operator = Composed(self.operator, decode)
        return cast("Likelihood[Composed]", replace(cast(Any, self), operator=operator))

    def select(self, index: Tensor) -> Self:
        """Return the likelihood of some images of the batch, in this order, repeats allowed."""
        return replace(self, operator=self.operator.select(index), y=self.y[index])
