"""The network of the shipped priors: small, fully convolutional, for images of any size."""

from dataclasses import dataclass
from typing import Any

from ..errors import UnsuitedError
from ..networks import nafunet
from ..networks.parameterizations import Karras
from .base import Architecture, Demand

__all__ = ["NAFUNet"]

SMALL = 64  # pixels a side, up to which images have fewer and wider levels


@dataclass(frozen=True, kw_only=True)
class NAFUNet(Architecture):
    """Gated convolutions at several sizes.

    Its widths are those of the shipped priors: of ``photo``, or of ``fashion`` for images of at
    most 64 pixels.
    """

    def build(self, demand: Demand) -> nafunet.NAFUNet:
        if len(demand.shape) != 3:
            raise UnsuitedError("nafunet is a network of images, and these are points: use mlp")
        channels, _, size = demand.shape
        own = demand.parameterization
        settings: dict[str, Any] = {"numbers": demand.numbers}
        if isinstance(own, Karras):
            schedule: Any = own.schedule
            settings |= {"sigma_min": schedule.sigma_min, "sigma_max": schedule.sigma_max}
        else:
            settings |= {"time_scale": demand.scale(2.0)}
        if size <= SMALL:
            settings |= {"channels": (96, 160), "blocks": (3, 4)}
        return nafunet.NAFUNet(
            image_channels=channels,
            sigma_data=demand.sigma_data,
            classes=demand.classes,
            size=size,
            **settings,
        )
