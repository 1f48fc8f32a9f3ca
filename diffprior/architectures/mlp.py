"""Dense layers with residual branches, for points and for bits."""

from dataclasses import dataclass

from ..errors import UnsuitedError
from ..networks import mlp
from .base import Architecture, Demand

__all__ = ["MLP"]


@dataclass(frozen=True, kw_only=True)
class MLP(Architecture):
    """Dense layers for points of a few numbers.

    Arguments:
        width: Width of the layers.
        layers: Number of residual branches.
    """

    width: int = 128
    layers: int = 3

    def build(self, demand: Demand) -> mlp.MLP:
        if len(demand.shape) != 1:
            raise UnsuitedError("mlp is a network of points, and these are images: use nafunet")
        return mlp.MLP(
            demand.shape[0],
            self.width,
            self.layers,
            demand.numbers,
            demand.classes,
            demand.sigma_data,
            demand.scale(2.0),
        )
