"""Folders of a prior that sees what an operator leaves of an image, as it was trained here."""

from pathlib import Path

from ..catalog import build
from ..operators.base import Operator
from ..priors.conditioned import ConditionedPrior
from .checkpoints import read_json
from .diffusers import NetworkSettings, opened_unet

__all__ = ["load_conditioned"]

LONGEST = 200  # characters of the text of an operator


def load_conditioned(folder: Path, settings: NetworkSettings) -> ConditionedPrior:
    """Open a folder with ``network/``, a network of diffusers, and a config with its operator."""
    network, parameterization = opened_unet(folder / "network")
    words = read_json(folder / "config.json").get("operator")
    if not isinstance(words, str) or len(words) > LONGEST:
        raise ValueError("its config is to have the text of an operator")
    operator: Operator = build(words, ("operators",))
    channels, seen = network.config.out_channels, network.config.in_channels
    if seen % 2 == 0 or channels not in (seen // 2, seen - 1):
        raise ValueError(
            f"its network makes {channels} channels of {seen}, and is to take those of a state, as "
            "many of an image, and one more"
        )
    side = network.config.sample_size
    classes = network.config.num_class_embeds or 0
    prior = ConditionedPrior(
        operator,
        network,
        parameterization,
        (seen // 2, side, side),
        classes=classes,
        unconditional=not classes,
    )
    null = read_json(folder / "network" / "config.json").get("_null_label")
    if null is not None:
        prior = prior.with_null_label(null)
    prior = prior._replace(clip=settings.clip)
    return prior if settings.label is None else prior.for_label(settings.label)
