"""Folders of this library: the network of the shipped priors."""

from dataclasses import dataclass
from pathlib import Path

from ..networks.nafunet import load_network
from ..priors.network import NetworkPrior

__all__ = ["NativeSettings", "load_native"]


@dataclass(frozen=True, kw_only=True)
class NativeSettings:
    """What the files of a network do not say.

    Attributes:
        label: The class, for a network with classes; None is any.
    """

    label: int | None = None


def load_native(folder: Path, settings: NativeSettings) -> NetworkPrior:
    """Open a folder with a ``NAFUNet``."""
    return NetworkPrior.of(load_network(folder)).for_label(settings.label)
