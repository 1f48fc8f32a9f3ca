"""Any prior with its network in half precision, its states in full."""

from typing import Self

import torch
from torch import Tensor

from .base import Prior, Wrapper

__all__ = ["HalfPrior"]


class HalfPrior(Wrapper):
    """The inner prior under autocast; what comes back has the dtype of the state.

    On a CPU rows go through it one at a time: its half-precision convolutions share the work out,
    and round, by the size of the batch, and a picture's result is not to hang on its neighbours.

    Arguments:
        inner: The prior.
        dtype: ``torch.bfloat16`` or ``torch.float16``.
    """

    def __init__(self, inner: Prior, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__(inner)
        self.precision = dtype

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        parts = torch.split(x_t, 1) if x_t.device.type == "cpu" else (x_t,)
        with torch.autocast(x_t.device.type, self.precision):
            return torch.cat([self.inner(part, t) for part in parts]).to(x_t.dtype)

    def rewrap(self, inner: Prior) -> Self:
        return type(self)(inner, self.precision)
