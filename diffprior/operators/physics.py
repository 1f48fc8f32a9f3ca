"""The physics of deepinv (MRI, tomography, radio, ...) as operators."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from .base import LinearOperator, Operator

__all__ = ["Physics", "LinearPhysics"]


class Physics(Operator):
    """y = A(x) of a ``deepinv.physics`` object, without its noise, which belongs to a likelihood.

    Nothing is converted: the physics receives states as they are, images in [-1, 1], and y is in
    its own units. A linear A is the same map in [0, 1]; a nonlinear one, designed for light, may
    not be. A ``LinearPhysics`` of deepinv becomes a ``LinearOperator`` with its ``A_adjoint``. All
    images of a batch share the same physics. Needs ``pip install diffprior[deepinv]``.

    Arguments:
        physics: The object, whose measurements are tensors ``(B, *)``.
    """

    def __new__(cls, *physics: Any) -> "Physics":
        from deepinv.physics import LinearPhysics as Linear

        linear = physics and isinstance(physics[0], Linear)  # a copy calls without arguments
        return super().__new__(LinearPhysics if linear else cls)

    def __init__(self, physics: Any) -> None:
        from deepinv.physics import Physics as Camera

        super().__init__()
        if not isinstance(physics, Camera):
            raise TypeError(f"physics is one of deepinv.physics, got {type(physics).__name__}")
        self.physics = physics

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the tensors; torch alone would cast complex ones to real."""

        def move(x: Tensor) -> Tensor:
            if x.is_complex():
                return torch.view_as_complex(fn(torch.view_as_real(x)))
            return fn(x)

        super()._apply(move, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.physics.A(x)
        return y


class LinearPhysics(Physics, LinearOperator):
    """y = A x of one of deepinv's ``LinearPhysics``."""

    def adjoint(self, y: Tensor) -> Tensor:
        x: Tensor = self.physics.A_adjoint(y)
        return x
