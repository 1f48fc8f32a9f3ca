"""A small diffusion transformer (Peebles and Xie, 2023), whose norms follow time and class."""

from dataclasses import dataclass

from ..errors import SettingError
from ..networks import dit
from .base import Architecture, Demand

__all__ = ["DiT"]


@dataclass(frozen=True, kw_only=True)
class DiT(Architecture):
    """A transformer of squares of pixels.

    Arguments:
        patch: Side of a token, in pixels.
        width: Width of a token, a multiple of ``heads``.
        layers: Number of blocks.
        heads: Attention heads of a block.
    """

    patch: int = 4
    width: int = 128
    layers: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise SettingError(
                f"width of dit is a multiple of heads, got {self.width} and {self.heads}"
            )

    def build(self, demand: Demand) -> dit.DiT:
        channels, size = demand.square("dit", self.patch)
        return dit.DiT(
            size,
            channels,
            self.patch,
            self.width,
            self.layers,
            self.heads,
            demand.numbers,
            demand.classes,
            demand.sigma_data,
            demand.scale(1000.0),
        )
