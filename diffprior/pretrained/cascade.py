"""Folders of a cascade that was trained here: a prior of small images, and an upsampler."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..priors.cascade import CascadePrior
from ..validation import Within
from .checkpoints import read_json
from .diffusers import NetworkSettings, load_unet, opened_unet

__all__ = ["CascadeSettings", "load_cascade"]


@dataclass(frozen=True, kw_only=True)
class CascadeSettings(NetworkSettings):
    """What the files of a cascade do not say.

    Attributes:
        label, null_label, clip: As of ``NetworkSettings``.
        level: Share of noise in the small image that the large one is drawn under.
    """

    level: Annotated[float, Within(0, 0.99)] = 0.2


def load_cascade(folder: Path, settings: CascadeSettings) -> CascadePrior:
    """Open a folder with ``base/`` and ``upsampler/``, each a network of diffusers."""
    base = load_unet(folder / "base", NetworkSettings(label=settings.label))
    network, parameterization = opened_unet(folder / "upsampler")
    channels, seen = base.shape[0], network.config.in_channels
    if seen != 2 * channels + 1 or network.config.out_channels not in (channels, 2 * channels):
        raise ValueError(
            f"its upsampler makes {network.config.out_channels} channels of {seen}, and is to make "
            f"{channels} of {2 * channels + 1}"
        )
    side = network.config.sample_size
    prior = CascadePrior(
        base,
        network,
        parameterization,
        (channels, side, side),
        classes=network.config.num_class_embeds or 0,
        unconditional=not network.config.num_class_embeds,
        level=settings.level,
    )
    null = read_json(folder / "upsampler" / "config.json").get("_null_label")
    if null is not None:
        prior = prior.with_null_label(null)
    return prior if settings.label is None else prior.for_label(settings.label)
