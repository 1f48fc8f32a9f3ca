"""Base classes of the operators. What an operator can do is its class: linear, SVD, diagonal."""

import copy
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, cast, overload

import torch
from torch import Tensor, nn

from ..errors import UnboundError
from ..solvers import cg, wide_dtype

__all__ = [
    "Composed",
    "DiagonalOperator",
    "LinearComposed",
    "LinearOperator",
    "LinearStacked",
    "Operator",
    "SVDOperator",
    "Stacked",
    "output_shape",
    "stack",
]


class Operator(nn.Module, ABC):
    """A measurement operator A: the part of y = A x + noise that is not noise.

    An operator maps states ``(B, *shape)`` to measurements ``(B, *)``. It knows nothing of noise,
    which belongs to a likelihood, and nothing of priors. What a method may do with an operator is
    given by its class:

    - ``Operator``: any differentiable map; ``A(x)``.
    - ``LinearOperator``: also ``A.adjoint(y)`` = A^T y and ``A.pinv(y)`` = A^+ y.
    - ``SVDOperator``: also A = U diag(s) V^T, with the four products that it takes.
    - ``DiagonalOperator``: A = diag(s).

    Operators compose with ``@``: ``Decimate(4) @ Blur("gaussian:2")`` blurs, then decimates.

    Example:
        >>> import torch
        >>> from diffprior.operators.average import Average
        >>> A = Average(2)
        >>> y = A(torch.ones(1, 3, 8, 8))
        >>> y.shape
        torch.Size([1, 3, 4, 4])
    """

    neutral: ClassVar[bool] = False  # True of the identity, which a composition leaves out
    by_channel: bool = False  # whether each channel is measured by itself
    grain: int = 0  # rows of pixels that are measured by themselves; 0 where there are no such

    def __getattr__(self, name: str) -> Any:
        """Explain a missing attribute of an operator whose shape is not set yet."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or self.__dict__.get("shape") != ():
                raise
            raise UnboundError(
                f"{type(self).__name__} does not know the shape of a state: bind it, as in "
                "operator.for_shape((3, 64, 64))"
            ) from None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Apply A to a batch of states."""

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = super().__call__(x.contiguous())  # channels last, sums round differently
        return y

    def mask_unmeasured(self, y: Tensor) -> Tensor:
        """Return y with zeros for the entries that never hold a measurement."""
        return y

    def select(self, index: Tensor) -> Self:
        """Return the operator for these images of the batch; ``self`` if it is the same for all."""
        return self

    def band(self, rows: slice, y: Tensor) -> tuple[Self, Tensor]:
        """Return the operator of a band of the images alone, and its part of measurements.

        Likelihoods work on large images band by band, where the operator has a ``grain``. Then A of
        a band of x is the part of y = A x that is cut here. By default each ``grain`` rows of
        pixels ``(B, C, H, W)`` make one row of ``(B, C', H / grain, W')``.

        Arguments:
            rows: Rows of pixels; they begin at a multiple of ``grain``, and end at one, or with
                the image.
            y: Measurements ``(B, *)`` of whole images.
        """
        return self, y[..., rows.start // self.grain : -(-rows.stop // self.grain), :]

    def for_shape(self, shape: Sequence[int]) -> Self:
        """Return the same operator for states of this shape; ``self`` if any shape is accepted."""
        return self

    def beside(self, like: Tensor) -> Self:
        """Return the operator on the device of a tensor: ``self`` if it is there, else a copy.

        Its numbers stay in float64 if the device has it.
        """
        target = (like.device,) if wide_dtype(like) == torch.float64 else (like.device, like.dtype)
        numbers = itertools.chain(self.parameters(), self.buffers())
        if all(_is_at(number, *target) for number in numbers):
            return self
        return copy.deepcopy(self).to(*target)

    def __matmul__(self, inner: "Operator") -> "Operator":
        """Return A B, which applies B first. It is linear if both are.

        An SVD is lost, unless one of the two is the identity.
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


def _is_at(x: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> bool:
    """Return whether a tensor is on a device, and, if it has no whole numbers, of a dtype."""
    whole = not (x.is_floating_point() or x.is_complex())
    cast = dtype is None or whole or x.dtype in (dtype, dtype.to_complex())
    return x.device == device and cast


class LinearOperator(Operator, ABC):
    """A linear operator.

    A subclass that does not define ``adjoint`` gets it from autograd, and must then set ``shape``,
    the shape of one state.
    """

    shape: tuple[int, ...]

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose of A to a batch of measurements."""
        with torch.enable_grad():
            x = y.new_zeros(len(y), *self.shape).requires_grad_()
            return torch.autograd.grad(self(x), x, y)[0]

    def pinv(self, y: Tensor) -> Tensor:
        """Return A^+ y = (A^T A)^+ A^T y, the least-squares state of least norm, by CG.

        A^T (A A^T)^+ y is equal, but CG does not converge to it if y is not in the range of A.
        """
        return cg(lambda x: self.adjoint(self(x)), self.adjoint(y))

    @overload
    def __matmul__(self, inner: "LinearOperator") -> "LinearOperator": ...
    @overload
    def __matmul__(self, inner: Operator) -> Operator: ...
    def __matmul__(self, inner: Operator) -> Operator:
        return super().__matmul__(inner)


class SVDOperator(LinearOperator, ABC):
    """A linear operator with a known SVD, A = U diag(s) V^T.

    A spectrum z = V^T x has as many entries as a state; ``s`` is zero where nothing is measured.
    """

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
        """Return A^+ y = V diag(s^+) U^T y; singular values that are zero to rounding give zero."""
        return self.filtered(lambda s: torch.where(s > 1e-6 * s.max(), 1 / s, 0), y)

    def filtered(self, gain: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
        """Return V diag(g) U^T y.

        Arguments:
            gain: Makes g of singular values, 0 where they are 0. It may get the largest ones alone.
        """
        return self.from_spectrum(gain(self.s) * self.to_left(y))


class DiagonalOperator(SVDOperator, ABC):
    """A = diag(s): each entry of a state is measured by itself, multiplied by s."""

    def to_spectrum(self, x: Tensor) -> Tensor:
        return x

    def from_spectrum(self, z: Tensor) -> Tensor:
        return z

    def to_left(self, y: Tensor) -> Tensor:
        return y

    def from_left(self, z: Tensor) -> Tensor:
        return z


class Composed(Operator):
    """x -> outer(inner(x)), where inner is any map: a decoder, or another operator."""

    outer: Operator
    inner: Callable[[Tensor], Tensor]

    def __init__(self, outer: Operator, inner: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.outer = outer
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    @property
    def by_channel(self) -> bool:  # type: ignore[override]
        return self.outer.by_channel and getattr(self.inner, "by_channel", False)

    @property
    def grain(self) -> int:  # type: ignore[override]
        return int(self.outer.grain == 1 and getattr(self.inner, "grain", 0) == 1)

    def band(self, rows: slice, y: Tensor) -> tuple[Self, Tensor]:
        outer, part = self.outer.band(rows, y)
        inner, _ = cast(Operator, self.inner).band(rows, y)  # rows of pixels are rows of all
        return type(self)(outer, inner), part

    def mask_unmeasured(self, y: Tensor) -> Tensor:
        return self.outer.mask_unmeasured(y)

    def select(self, index: Tensor) -> Self:
        inner = self.inner.select(index) if isinstance(self.inner, Operator) else self.inner
        return type(self)(self.outer.select(index), inner)

    def for_shape(self, shape: Sequence[int]) -> Self:
        if not isinstance(self.inner, Operator):
            return self
        inner = self.inner.for_shape(shape)
        middle = output_shape(inner, shape)
        outer = self.outer.for_shape(middle)
        output_shape(outer, middle)
        return type(self)(outer, inner)


class LinearComposed(Composed, LinearOperator):
    """x -> A B x, with the adjoint B^T A^T."""

    outer: LinearOperator
    inner: LinearOperator

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))


class Stacked(Operator):
    """x -> (A x, B x, ...), each flattened, then concatenated: ``(B, M)``.

    Arguments:
        operators: A, B, ...
        shape: The shape of one state, needed to split a y; ``for_shape`` sets it.
    """

    def __init__(self, operators: Sequence[Operator], shape: Sequence[int] | None = None) -> None:
        super().__init__()
        self.operators = nn.ModuleList(operators)
        self.shape = tuple(shape or ())
        self.shapes = [output_shape(A, shape) for A in operators] if shape else []

    @property
    def parts(self) -> list[Operator]:
        """Return A, B, ..."""
        return [cast(Operator, A) for A in self.operators]

    def split(self, y: Tensor) -> list[Tensor]:
        """Return the measurements of A, B, ..., each in its own shape."""
        if not self.shapes:
            raise ValueError("to split y, give the shape of a state: stack(A, B, shape=(C, H, W))")
        parts = torch.split(y, [math.prod(s) for s in self.shapes], 1)
        return [part.reshape(-1, *s) for part, s in zip(parts, self.shapes, strict=True)]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the y of the measurements of A, B, ...; a single row is repeated for the batch."""
        rows = max(map(len, parts))
        return torch.cat([part.flatten(1).expand(rows, -1) for part in parts], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.join([A(x) for A in self.parts])

    @property
    def grain(self) -> int:  # type: ignore[override]
        grains = {A.grain for A in self.parts}
        return grains.pop() if len(grains) == 1 and self.shapes else 0

    def band(self, rows: slice, y: Tensor) -> tuple[Self, Tensor]:
        cut = [A.band(rows, z) for A, z in zip(self.parts, self.split(y), strict=True)]
        shape = (*self.shape[:-2], rows.stop - rows.start, self.shape[-1])
        own = self._of([A for A, _ in cut], shape, [tuple(z.shape[1:]) for _, z in cut])
        return own, own.join([z for _, z in cut])

    def mask_unmeasured(self, y: Tensor) -> Tensor:
        return self.join(
            [A.mask_unmeasured(z) for A, z in zip(self.parts, self.split(y), strict=True)]
        )

    def select(self, index: Tensor) -> Self:
        return self._of([A.select(index) for A in self.parts], self.shape, self.shapes)

    def for_shape(self, shape: Sequence[int]) -> Self:
        return type(self)([A.for_shape(shape) for A in self.parts], shape)

    def _of(
        self, parts: Sequence[Operator], shape: Sequence[int], shapes: Sequence[tuple[int, ...]]
    ) -> Self:
        """Return the stack of these, of a state and of measurements of known shapes."""
        own = type(self)(parts)
        own.shape, own.shapes = tuple(shape), list(shapes)
        return own


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
    """Return the operator that makes all these measurements. It is linear if they all are.

    Arguments:
        operators: One or more operators, on states of one shape.
        shape: The shape of one state, which ``split`` needs; ``for_shape`` sets it later.
    """
    if not operators:
        raise ValueError("stack(A, B, ...) takes one operator or more, got none")
    linear = all(isinstance(A, LinearOperator) for A in operators)
    return (LinearStacked if linear else Stacked)(operators, shape)


@torch.no_grad()
def output_shape(A: Operator, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the measurement of a state of this shape.

    Raises:
        ValueError: If A cannot measure states of this shape.
    """
    tensors = itertools.chain(A.parameters(), A.buffers())
    like = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))
    try:
        return tuple(A.select(torch.tensor([0]))(like.new_zeros(1, *shape)).shape[1:])
    except RuntimeError as error:
        what = f"{type(A).__name__} cannot measure states of shape {tuple(shape)}"
        raise ValueError(f"{what}: {str(error).splitlines()[0]}") from error
