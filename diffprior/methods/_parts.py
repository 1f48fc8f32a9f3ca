"""The starts of a method that is made of others, beside each other in one tensor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..random import Noise
from .base import Method, Posterior

__all__ = ["each_start", "starts_of"]

Methods = Sequence[Method[Any]]


def starts_of(
    parts: Methods, p: Posterior[Any], guess: Tensor | None, images: Tensor, noise: Noise
) -> Tensor:
    """Return what each part starts from, ``(B, K C, ...)``, with K the starts of all parts."""
    return torch.cat([part.initial(p, guess, images, noise) for part in parts], 1)


def each_start(parts: Methods, x_T: Tensor) -> tuple[Tensor, ...]:
    """Return the starts ``(B, k C, ...)`` of each part from those of all of them."""
    counts = [part.starts for part in parts]
    channels = x_T.shape[1] // sum(counts)
    return torch.split(x_T, [count * channels for count in counts], 1)
