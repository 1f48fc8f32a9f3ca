"""Half precision: the network of a prior in bfloat16 or float16, its states as they are."""

from typing import Self

import torch
from torch import Tensor

from .base import Prior, Wrapper

__all__ = ["HalfPrior"]


class HalfPrior(Wrapper):
    """The inner prior under autocast; E[x_0 | x_t] has the dtype of the state.

    Arguments:
        inner: The prior.
        dtype: ``torch.bfloat16`` or ``torch.float16``.
    """

    def __init__(self, inner: Prior, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__(inner)
        self._dtype = dtype

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(x_t.device.type, self._dtype):
            return self.inner(x_t, t).to(x_t.dtype)

    def with_inner(self, inner: Prior) -> Self:
        return type(self)(inner, self._dtype)
