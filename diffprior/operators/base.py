"""What an operator can do is its class: any map, a linear one, one with an SVD, a diagonal one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ..solvers import cg

__all__ = ["Composed", "DiagonalOperator", "LinearOperator", "Operator", "SVDOperator"]


class Operator(nn.Module, ABC):
    """A map A from states ``(B, *shape)`` to measurements ``(B, *)``."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Apply A to a batch of states."""

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = super().__call__(x)
        return y

    def seen(self, y: Tensor) -> Tensor:
        """Return y with zeros for the entries that never hold a measurement."""
        return y

    def take(self, index: Tensor) -> Self:
        """Return the operator of some pictures of its batch; itself where one serves them all."""
        return self

    def on(self, shape: Sequence[int]) -> Self:
        """Return the same map for states of this shape; itself where any shape will do."""
        return self


class LinearOperator(Operator, ABC):
    """A linear map; the adjoint, where none is written, is taken from autograd.

    A class that leaves it to autograd says the ``shape`` of one state.
    """

    shape: tuple[int, ...]

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose of A to a batch of measurements."""
        with torch.enable_grad():
            x = y.new_zeros(len(y), *self.shape).requires_grad_()
            return torch.autograd.grad(self(x), x, y)[0]

    def pinv(self, y: Tensor) -> Tensor:
        """Return A^+ y = A^T (A A^T)^+ y, the least state that explains y, by CG."""
        return self.adjoint(cg(lambda v: self(self.adjoint(v)), self.seen(y)))


class SVDOperator(LinearOperator, ABC):
    """A = U diag(s) V^T. A spectrum has a state's size: ``s`` is zero where nothing is seen."""

    s: Tensor

    @abstractmethod
    def to_spectrum(self, x: Tensor) -> Tensor:
        """Return V^T x."""

    @abstractmethod
    def from_spectrum(self, z: Tensor) -> Tensor:
        """Return V z."""

    @abstractmethod
    def to_left(self, y: Tensor) -> Tensor:
        """Return U^T y, in the shape of a spectrum."""

    @abstractmethod
    def from_left(self, z: Tensor) -> Tensor:
        """Return U z, in the shape of a measurement."""

    def forward(self, x: Tensor) -> Tensor:
        return self.from_left(self.s * self.to_spectrum(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.from_spectrum(self.s * self.to_left(y))

    def pinv(self, y: Tensor) -> Tensor:
        """Return A^+ y = V diag(s^+) U^T y, with nothing where s is zero to rounding."""
        real = self.s > 1e-6 * self.s.max()
        return self.from_spectrum(torch.where(real, 1 / self.s, 0) * self.to_left(y))


class DiagonalOperator(SVDOperator, ABC):
    """A = diag(s): every entry of a state is seen alone, s times its size."""

    def to_spectrum(self, x: Tensor) -> Tensor:
        return x

    def from_spectrum(self, z: Tensor) -> Tensor:
        return z

    def to_left(self, y: Tensor) -> Tensor:
        return y

    def from_left(self, z: Tensor) -> Tensor:
        return z


class Composed(Operator):
    """x -> outer(inner(x)), for any inner map: a decoder, another operator."""

    def __init__(self, outer: Operator, inner: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.outer, self.inner = outer, inner

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def seen(self, y: Tensor) -> Tensor:
        return self.outer.seen(y)

    def take(self, index: Tensor) -> "Composed":
        return Composed(self.outer.take(index), self.inner)
