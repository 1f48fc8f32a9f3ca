"""Images as blocks of N x N pixels."""

from einops import rearrange
from torch import Tensor

__all__ = ["from_blocks", "to_blocks"]


def to_blocks(x: Tensor, size: int, what: str) -> Tensor:
    """Return ``(..., H, W)`` as ``(..., H / N, N, W / N, N)``.

    Arguments:
        size: N.
        what: The operator in the message of the error.

    Raises:
        ValueError: If a side is not a multiple of N.
    """
    if x.shape[-2] % size or x.shape[-1] % size:
        raise ValueError(
            f"{what} needs sides that are multiples of {size}, got {x.shape[-1]}x{x.shape[-2]}"
        )
    return rearrange(x, "... (h i) (w j) -> ... h i w j", i=size, j=size)


def from_blocks(z: Tensor) -> Tensor:
    """Return ``(..., H / N, N, W / N, N)`` as ``(..., H, W)``."""
    return rearrange(z, "... h i w j -> ... (h i) (w j)")
