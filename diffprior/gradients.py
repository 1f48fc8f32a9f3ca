"""Inner products of the gradients of pictures, over a part of them."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["inner"]


def inner(
    u: Tensor,
    v: Tensor,
    mask: Tensor,
    join: Callable[[Tensor, Tensor], Tensor] = torch.mul,
) -> Tensor:
    """Return the mean of <grad u, grad v> over pairs of neighbours, ``(B,)``; nan of no pair.

    Arguments:
        u, v: Pictures, of shape ``(B, C, H, W)``.
        mask: 1 where to look, else 0, of shape ``(B or 1, 1, H, W)``.
        join: Makes of the masks of two neighbours that of the pair: by default both lie in it,
            with ``torch.maximum`` one does.
    """
    m = mask.to(u).expand(len(u), 1, *u.shape[-2:])
    total, count = u.new_zeros(len(u)), u.new_zeros(len(u))
    for axis in (2, 3):
        n = u.shape[axis] - 1
        pairs = join(m.narrow(axis, 0, n), m.narrow(axis, 1, n))
        total += (pairs * u.diff(dim=axis) * v.diff(dim=axis)).flatten(1).sum(1)
        count += pairs.flatten(1).sum(1) * u.shape[1]
    return total / count
