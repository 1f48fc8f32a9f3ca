"""Few gray levels: an image stored with less than 8 bits."""

from torch import Tensor

from .base import Operator

__all__ = ["Quantize"]


class Quantize(Operator):
    """y = round(l (x + 1)) / l - 1, with l = (2^bits - 1) / 2: the nearest of 2^bits levels.

    The levels are even, and -1 and 1 are two of them; what is beyond is clipped first.

    Arguments:
        bits: How many bits an entry has, from 1 on.
        straight_through: Whether the gradient passes the rounding as if it were not there; it is
            zero otherwise, as it truly is almost everywhere. Clipped entries have none either way.
    """

    def __init__(self, bits: int, straight_through: bool = True) -> None:
        super().__init__()
        if not 1 <= bits <= 16 or bits != int(bits):
            raise ValueError(f"bits is a whole number from 1 to 16, got {bits}")
        self.bits, self.straight_through = bits, straight_through

    def forward(self, x: Tensor) -> Tensor:
        x, half = x.clamp(-1, 1), (2**self.bits - 1) / 2
        y: Tensor = (half * (x + 1)).round() / half - 1
        return y.detach() + (x - x.detach()) if self.straight_through else y
