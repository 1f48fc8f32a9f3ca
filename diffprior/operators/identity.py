"""Denoising: the measurement is the image plus noise."""

from typing import ClassVar

import torch
from torch import Tensor

from .base import DiagonalOperator

__all__ = ["Identity"]


class Identity(DiagonalOperator):
    """y = x."""

    s: Tensor
    grain = 1
    neutral: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("s", torch.ones(()))
