"""Any linear map that is small enough for a matrix."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from .base import SVDOperator

__all__ = ["Matrix"]


class Matrix(SVDOperator):
    """y = A x on the flattened state; its SVD is computed once.

    Arguments:
        A: The matrix, of shape ``(M, D)``.
        shape: The shape of one state, with D entries; ``(D,)`` by default.
    """

    A: Tensor
    s: Tensor
    U: Tensor
    V: Tensor

    def __init__(self, A: Tensor, shape: Sequence[int] | None = None) -> None:
        super().__init__()
        m, d = A.shape
        self.shape = tuple(shape or (d,))
        if math.prod(self.shape) != d:
            raise ValueError(f"a matrix of {d} columns cannot take states of shape {self.shape}")
        U, s, Vh = torch.linalg.svd(A, full_matrices=True)
        r = len(s)
        self.register_buffer("A", A)
        self.register_buffer("U", U[:, :r])
        self.register_buffer("V", Vh.mT)
        self.register_buffer("s", torch.cat([s, s.new_zeros(d - r)]))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.A.mT

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.A).reshape(-1, *self.shape)

    def to_spectrum(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.V

    def from_spectrum(self, z: Tensor) -> Tensor:
        return (z @ self.V.mT).reshape(-1, *self.shape)

    def to_left(self, y: Tensor) -> Tensor:
        z = y @ self.U
        return torch.cat([z, z.new_zeros(len(z), len(self.s) - z.shape[1])], 1)

    def from_left(self, z: Tensor) -> Tensor:
        return z[:, : self.U.shape[1]] @ self.U.mT

    def for_shape(self, shape: Sequence[int]) -> Self:
        return self if tuple(shape) == self.shape else type(self)(self.A, shape)
