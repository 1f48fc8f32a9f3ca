"""Folders of this library: the network of the shipped priors, and others that it trains."""

from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors.torch import load_file

from ..catalog import build
from ..networks.dit import DiT
from ..networks.mlp import MLP
from ..networks.nafunet import CONFIG, WEIGHTS, NAFUNet
from ..networks.parameterizations import Parameterization
from ..objectives.base import Objective
from ..priors.denoising_gan import prior_of
from ..priors.network import NetworkPrior
from ..validation import ANYWHERE, Positive, Within, check
from .checkpoints import fit, read_json, room, size_of
from .settings import check_channels, check_side

__all__ = ["NATIVE", "NativeSettings", "load_native"]

MOST = 1 << 20  # of any count in a config
NATIVE: dict[str, type] = {kind.__name__: kind for kind in (NAFUNet, DiT, MLP)}


@dataclass(frozen=True, kw_only=True)
class NativeSettings:
    """What the files of a network do not say.

    Attributes:
        label: The class, for a network with classes; None is any.
    """

    label: int | None = None


def load_native(folder: Path, settings: NativeSettings) -> NetworkPrior:
    """Open a folder with a network of this library, or of ``save_pretrained`` of diffusers.

    It is built without memory first, so that a config of a larger network than that of the weights
    is refused before it takes any. The entry ``_objective`` says how it was trained; without it a
    network is a ``NAFUNet`` in the preconditioning of Karras.
    """
    entries = read_json(folder / CONFIG)
    kind: Any = NATIVE[entries.get("_class_name", NAFUNet.__name__)]
    config = {k: v for k, v in entries.items() if not k.startswith("_")}
    text = entries.get("_objective")
    objective = None if text is None else _objective(text)
    _check_config(config, kind, 1 if objective is None else objective.inputs)
    state = load_file(folder / WEIGHTS)
    with torch.device("meta"), room(size_of(state)):
        network = kind(**config)
    fit(network, state)
    steps, scale = (entries.get(name) for name in ("_steps", "_guidance_scale"))
    check("its _steps", steps, int | None)
    check("its _guidance_scale", scale, float | None, ANYWHERE)
    prior = prior_of(network, _task(objective, network), text).distilled(steps, scale)
    return prior.for_label(settings.label)


def _objective(text: Any) -> Objective:
    """Return the objective that a network was trained by, from its text."""
    check("its _objective", text, str)
    objective: Objective = build(text, ("objectives",))
    return objective


def _task(objective: Objective | None, network: Any) -> Parameterization | None:
    """Return what a network takes and says."""
    if objective is None:
        if not isinstance(network, NAFUNet):
            raise ValueError("its config has no _objective, which says how it was trained")
        return None
    if objective.numbers != network.numbers:
        name = type(objective).__name__
        raise ValueError(f"its objective {name} needs {objective.numbers} outputs a number")
    return objective.parameterization(network.sigma_data)


def _check_config(config: dict[str, Any], kind: type, inputs: int) -> None:
    """Refuse a config that is none of its network, by the entry that is wrong.

    Arguments:
        inputs: States that the network takes.
    """
    known = signature(kind).parameters
    for name, value in config.items():
        if name not in known:
            raise ValueError(f"its config has {name!r}; a {kind.__name__} has {', '.join(known)}")
        if name in ("channels", "blocks"):
            check(f"its {name}", value, list)
        for number in value if isinstance(value, list) else [value]:
            check(f"its {name}", number, _kind(name))
    values = {k: parameter.default for k, parameter in known.items()} | config
    if "image_channels" in values:
        channels = values["image_channels"] / inputs
        check_channels(channels, channels)
    check_side(values["size"])
    if kind is NAFUNet:
        _check_levels(values)
    if kind is DiT and (values["width"] % values["heads"] or values["size"] % values["patch"]):
        raise ValueError("its width and heads, or its size and patch, do not divide each other")


def _check_levels(values: dict[str, Any]) -> None:
    if not values["sigma_min"] < values["sigma_max"]:
        raise ValueError("its sigma_min is not below its sigma_max")
    if len(values["channels"]) != len(values["blocks"]):
        raise ValueError("its channels and blocks are not those of as many levels")


def _kind(name: str) -> Any:
    """Return what the numbers of an entry of the config are to be."""
    if name.startswith("sigma") or name == "time_scale":
        return Positive
    return Annotated[int, Within(0 if name == "classes" else 1, MOST)]
