"""The U-Net of DDPM (Ho et al., 2020): group norm, attention at 16x16, time in every block."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import SettingError, UnsuitedError
from ..networks import unet
from ..networks.parameterizations import Score
from .base import Architecture, Demand

__all__ = ["UNet"]


@dataclass(frozen=True, kw_only=True)
class UNet(Architecture):
    """ResNet blocks with group norm at several sizes, and attention at the small ones.

    Arguments:
        channels: Width of each level, finest first, multiples of 8.
        layers: Blocks of each level.
        attention: The largest side at which there is attention, in pixels.
        time: ``positional``: sines of the time; ``fourier``: random frequencies of the logarithm of
            the noise level, for ``ncsn``, ``sliced`` and ``implicit``.
        adaptive: Whether the time scales the group norms, and is not only added.
    """

    channels: Sequence[int] = (32, 64, 64)
    layers: int = 1
    attention: int = 16
    time: Literal["positional", "fourier"] = "positional"
    adaptive: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.channels or any(c < 8 or c % 8 for c in self.channels):
            raise SettingError(
                f"channels of unet is a list of multiples of 8, got {[*self.channels]}"
            )

    def build(self, demand: Demand) -> unet.UNet:
        channels, size = demand.square("unet", 2 ** (len(self.channels) - 1))
        if (self.time == "fourier") != isinstance(demand.parameterization, Score):
            raise UnsuitedError("time='fourier' is for objectives ncsn, sliced and implicit")
        return unet.UNet(
            size,
            channels,
            self.channels,
            self.layers,
            self.attention,
            self.time,
            self.adaptive,
            demand.numbers,
            demand.classes,
            demand.sigma_data,
        )
