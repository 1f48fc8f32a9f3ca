"""What an operator can do is its class: any map, a linear one, one with an SVD, a diagonal one."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, cast, overload

import torch
from torch import Tensor, nn

from ..errors import UnboundError
from ..solvers import cg

__all__ = [
    "Composed",
    "DiagonalOperator",
    "LinearComposed",
    "LinearOperator",
    "LinearStacked",
    "Operator",
    "SVDOperator",
    "Stacked",
    "measured",
    "stack",
]


class Operator(nn.Module, ABC):
    """A map A from states ``(B, *shape)`` to measurements ``(B, *)``."""

    neutral: ClassVar[bool] = False  # True of the identity, which a composition leaves out

    def __getattr__(self, name: str) -> Any:
        """Say of an operator without a shape, whose tensors wait for one, what it lacks."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or self.__dict__.get("shape") != ():
                raise
            raise UnboundError(
                f"{type(self).__name__} does not know the shape of a state: bind it, as in "
                "operator.on((3, 64, 64))"
            ) from None

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

    def __matmul__(self, inner: "Operator") -> "Operator":
        """Return A B, which applies B and then A: linear where both are, B where A changes nothing.

        An SVD is kept beside an identity only.
        """
        if not isinstance(inner, Operator):
            raise TypeError(f"A @ B composes operators, got a B of class {type(inner).__name__}")
        if inner.neutral:
            return self
        if self.neutral:
            return inner
        if isinstance(self, LinearOperator) and isinstance(inner, LinearOperator):
            return LinearComposed(self, inner)
        return Composed(self, inner)


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
        """Return A^+ y = (A^T A)^+ A^T y, the least of the states that explain y best, by CG.

        A^T (A A^T)^+ y is the same, but CG cannot solve for a y that no state explains.
        """
        return cg(lambda x: self.adjoint(self(x)), self.adjoint(y))

    @overload
    def __matmul__(self, inner: "LinearOperator") -> "LinearOperator": ...
    @overload
    def __matmul__(self, inner: Operator) -> Operator: ...
    def __matmul__(self, inner: Operator) -> Operator:
        return super().__matmul__(inner)


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

    outer: Operator
    inner: Callable[[Tensor], Tensor]

    def __init__(self, outer: Operator, inner: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.outer, self.inner = outer, inner

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def seen(self, y: Tensor) -> Tensor:
        return self.outer.seen(y)

    def take(self, index: Tensor) -> Self:
        inner = self.inner.take(index) if isinstance(self.inner, Operator) else self.inner
        return type(self)(self.outer.take(index), inner)

    def on(self, shape: Sequence[int]) -> Self:
        if not isinstance(self.inner, Operator):
            return self
        inner = self.inner.on(shape)
        middle = measured(inner, shape)
        outer = self.outer.on(middle)
        measured(outer, middle)
        return type(self)(outer, inner)


class LinearComposed(Composed, LinearOperator):
    """x -> A B x, with the adjoint B^T A^T."""

    outer: LinearOperator
    inner: LinearOperator

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))


class Stacked(Operator):
    """x -> (A x, B x, ...), each flattened, laid end to end: ``(B, M)``.

    Arguments:
        operators: A, B, ...
        shape: The shape of one state, without which a y cannot be taken apart; ``on`` gives it.
    """

    def __init__(self, operators: Sequence[Operator], shape: Sequence[int] | None = None) -> None:
        super().__init__()
        self.operators = nn.ModuleList(operators)
        self.shape = tuple(shape or ())
        self.shapes = [measured(A, shape) for A in operators] if shape else []

    @property
    def parts(self) -> list[Operator]:
        """Return A, B, ..."""
        return [cast(Operator, A) for A in self.operators]

    def split(self, y: Tensor) -> list[Tensor]:
        """Return what A, B, ... each measured, in their own shapes."""
        if not self.shapes:
            raise ValueError("to take y apart, give a state's shape: stack(A, B, shape=(C, H, W))")
        parts = torch.split(y, [math.prod(s) for s in self.shapes], 1)
        return [part.reshape(-1, *s) for part, s in zip(parts, self.shapes, strict=True)]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the y of what A, B, ... each measured; one row among many is repeated."""
        rows = max(map(len, parts))
        return torch.cat([part.flatten(1).expand(rows, -1) for part in parts], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.join([A(x) for A in self.parts])

    def seen(self, y: Tensor) -> Tensor:
        return self.join([A.seen(z) for A, z in zip(self.parts, self.split(y), strict=True)])

    def take(self, index: Tensor) -> Self:
        return type(self)([A.take(index) for A in self.parts], self.shape)

    def on(self, shape: Sequence[int]) -> Self:
        return type(self)([A.on(shape) for A in self.parts], shape)


class LinearStacked(Stacked, LinearOperator):
    """x -> (A x, B x, ...), with the adjoint y -> A^T y_A + B^T y_B + ..."""

    def adjoint(self, y: Tensor) -> Tensor:
        pairs = zip(self.parts, self.split(y), strict=True)
        return torch.stack([cast(LinearOperator, A).adjoint(z) for A, z in pairs]).sum(0)


@overload
def stack(*operators: LinearOperator, shape: Sequence[int] | None = None) -> LinearStacked: ...
@overload
def stack(*operators: Operator, shape: Sequence[int] | None = None) -> Stacked: ...
def stack(*operators: Operator, shape: Sequence[int] | None = None) -> Stacked:
    """Return the operator that measures all that these do, linear where they all are.

    ``split`` takes its y apart; ``shape`` is that of one state, as for ``Stacked``.
    """
    if not operators:
        raise ValueError("stack(A, B, ...) takes one operator or more, got none")
    linear = all(isinstance(A, LinearOperator) for A in operators)
    return (LinearStacked if linear else Stacked)(operators, shape)


@torch.no_grad()
def measured(A: Operator, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of what A measures of a state of this shape, or refuse in one sentence."""
    tensors = itertools.chain(A.parameters(), A.buffers())
    like = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))
    try:
        return tuple(A.take(torch.tensor([0]))(like.new_zeros(1, *shape)).shape[1:])
    except RuntimeError as error:
        what = f"{type(A).__name__} cannot measure states of shape {tuple(shape)}"
        raise ValueError(f"{what}: {str(error).splitlines()[0]}") from error
