"""Folders of this library: the network of the shipped priors."""

from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors.torch import load_file

from ..networks.nafunet import CONFIG, WEIGHTS, NAFUNet
from ..priors.network import NetworkPrior
from ..validation import Positive, Within, check
from .checkpoints import fit, read_json, room, size_of
from .settings import check_channels, check_side

__all__ = ["NativeSettings", "load_native"]

MOST = 1 << 20  # of any count in a config


@dataclass(frozen=True, kw_only=True)
class NativeSettings:
    """What the files of a network do not say.

    Attributes:
        label: The class, for a network with classes; None is any.
    """

    label: int | None = None


def load_native(folder: Path, settings: NativeSettings) -> NetworkPrior:
    """Open a folder with a ``NAFUNet``, of this library or of ``save_pretrained`` of diffusers.

    It is built without memory first, so that a config of a larger network than that of the weights
    is refused before it takes any.
    """
    config = {k: v for k, v in read_json(folder / CONFIG).items() if not k.startswith("_")}
    _check_config(config)
    state = load_file(folder / WEIGHTS)
    with torch.device("meta"), room(size_of(state)):
        network = NAFUNet(**config)
    fit(network, state)
    return NetworkPrior.of(network).for_label(settings.label)


def _check_config(config: dict[str, Any]) -> None:
    """Refuse a config that is none of a ``NAFUNet``, by the entry that is wrong."""
    known = signature(NAFUNet).parameters
    for name, value in config.items():
        if name not in known:
            raise ValueError(f"its config has {name!r}; a NAFUNet has {', '.join(known)}")
        if name in ("channels", "blocks"):
            check(f"its {name}", value, list)
        for number in value if isinstance(value, list) else [value]:
            check(f"its {name}", number, _kind(name))
    values = {k: parameter.default for k, parameter in known.items()} | config
    check_channels(values["image_channels"], values["image_channels"])
    check_side(values["size"])
    if not values["sigma_min"] < values["sigma_max"]:
        raise ValueError("its sigma_min is not below its sigma_max")
    if len(values["channels"]) != len(values["blocks"]):
        raise ValueError("its channels and blocks are not those of as many levels")


def _kind(name: str) -> Any:
    """Return what the numbers of an entry of the config are to be."""
    if name.startswith("sigma"):
        return Positive
    return Annotated[int, Within(0 if name == "classes" else 1, MOST)]
