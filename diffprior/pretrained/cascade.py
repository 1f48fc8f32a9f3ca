"""Folders of a cascade that was trained here: a prior of small images, and an upsampler."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from ..priors.cascade import CascadePrior
from ..validation import Within
from .diffusers import NetworkSettings, load_unet
from .seeing import load_seeing

__all__ = ["CascadeSettings", "load_cascade"]


@dataclass(frozen=True, kw_only=True)
class CascadeSettings(NetworkSettings):
    """What the files of a cascade do not say.

    Attributes:
        label, null_label, clip: As of ``NetworkSettings``, for both networks.
        level: Share of noise in the small image that the large one is drawn under.
    """

    level: Annotated[float, Within(0, 0.99)] = 0.2


def load_cascade(folder: Path, settings: CascadeSettings) -> CascadePrior:
    """Open a folder with ``base/`` and ``upsampler/``, each a network of diffusers."""
    base = load_unet(folder / "base", settings)
    kind = partial(CascadePrior, base, level=settings.level)
    prior = load_seeing(folder / "upsampler", settings, kind)
    if prior.shape[0] != base.shape[0]:
        raise ValueError(
            f"its upsampler makes images of {prior.shape[0]} channels under small ones of "
            f"{base.shape[0]}"
        )
    return prior
