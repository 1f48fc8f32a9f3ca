"""Quantization: an image stored with few bits per value."""

from torch import Tensor

from .base import Operator

__all__ = ["Quantize"]


class Quantize(Operator):
    """y = round(l (x + 1)) / l - 1, with l = (2^bits - 1) / 2: the nearest of 2^bits levels.

    The levels are evenly spaced from -1 to 1; values beyond are clipped first.

    Arguments:
        bits: Bits per entry, from 1 to 16.
        straight_through: Whether the gradient ignores the rounding. Otherwise it is zero, which it
            is almost everywhere. Clipped entries have a zero gradient in both cases.
    """

    def __init__(self, bits: int, straight_through: bool = True) -> None:
        super().__init__()
        if not 1 <= bits <= 16 or bits != int(bits):
            raise ValueError(f"bits is a whole number from 1 to 16, got {bits}")
        self.bits = bits
        self.straight_through = straight_through

    def forward(self, x: Tensor) -> Tensor:
        x = x.clamp(-1, 1)
        half = (2**self.bits - 1) / 2
        y: Tensor = (half * (x + 1)).round() / half - 1
        return y.detach() + (x - x.detach()) if self.straight_through else y
