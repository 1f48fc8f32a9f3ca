"""Folders of networks that see an image beside the state, as they were trained here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..priors.network import NetworkPrior
from .diffusers import NetworkSettings, as_trained, opened_unet
from .settings import check_side

__all__ = ["load_seeing"]

P = TypeVar("P", bound=NetworkPrior)


def load_seeing(folder: Path, settings: NetworkSettings, kind: Callable[..., P]) -> P:
    """Open the network of a folder of diffusers as a prior of a kind.

    Arguments:
        folder: Folder of a ``UNet2DModel`` that takes a state, an image of as many channels, and
            one channel more.
        settings: What its files do not say.
        kind: Takes the network, its parameterization, the shape of a state, and its classes as of
            ``SeeingPrior``; returns a prior.

    Raises:
        ValueError: If the network takes or makes something else.
    """
    network, parameterization = opened_unet(folder)
    config: Any = network.config
    channels, more = divmod(config.in_channels, 2)
    if more != 1 or config.out_channels not in (channels, 2 * channels):
        raise ValueError(
            f"its network makes {config.out_channels} channels of {config.in_channels}, and is to "
            "take those of a state, as many of an image, and one more"
        )
    check_side(config.sample_size)
    classes = config.num_class_embeds or 0
    shape = channels, config.sample_size, config.sample_size
    prior = kind(network, parameterization, shape, classes=classes, unconditional=not classes)
    return as_trained(prior, folder, settings)
