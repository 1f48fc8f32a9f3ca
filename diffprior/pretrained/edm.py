"""NVlabs EDM networks (VP, VE and EDM preconditioning), converted from their pickles."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import torch

from ..networks.edm import EDMLayout, EDMUNet
from ..networks.parameterizations import VE, VP, Karras, Parameterization
from ..priors.network import NetworkPrior
from ..validation import Positive, Within, check
from .checkpoints import fit, read, room, settings_beside, size_of
from .diffusers import NetworkSettings
from .layouts import network_in
from .settings import check_channels, check_side

__all__ = ["edm_prior", "is_edm", "load_edm"]

PARAMETERIZATIONS: dict[str, tuple[Callable[..., Parameterization], tuple[str, ...]]] = {
    "EDMPrecond": (Karras, ("sigma_data",)),
    "VPPrecond": (VP, ("beta_d", "beta_min")),
    "VEPrecond": (VE, ("sigma_min", "sigma_max")),
}
ADM = {"model_channels": 192, "channel_mult": (1, 2, 3, 4), "num_blocks": 3}
ANCHORS = ("map_layer0.weight", "map_layer1.weight")
MOST = 1 << 20  # channels, sides, counts
NETWORKS: dict[str, dict[str, Any]] = {
    "SongUNet": {"song": True},
    "DhariwalUNet": {"song": False, **ADM, "attn_resolutions": (32, 16, 8)},
}


def load_edm(file: Path, settings: NetworkSettings) -> NetworkPrior:
    """Open a weights file; a JSON file of the same name describes its network."""
    config = settings_beside(file)
    parameterization, names = PARAMETERIZATIONS[config["class_name"]]
    kind = config.get("model_type", "SongUNet")
    if kind not in NETWORKS or config.get("decoder_type", "standard") != "standard":
        raise ValueError(f"no standard network {kind!r}; there are {', '.join(NETWORKS)}")
    layout = _layout(NETWORKS[kind], config)
    found = network_in(file.name, read(file), ANCHORS)
    if found is None:
        raise ValueError(f"it lacks {ANCHORS[0]}, which every EDM network has")
    with torch.device("meta"), room(size_of(found.state)):
        network = EDMUNet(layout)
    fit(network, found.state)
    own = {k: _level(k, config[k]) for k in names if k in config}
    dropped = float(config.get("label_dropout") or 0) > 0
    return edm_prior(network, parameterization(**own), settings, unconditional=dropped)


def edm_prior(
    network: EDMUNet,
    parameterization: Parameterization,
    settings: NetworkSettings = NetworkSettings(),  # noqa: B008
    *,
    unconditional: bool = False,
) -> NetworkPrior:
    """Return the prior of an ``EDMUNet`` with its preconditioning.

    Arguments:
        unconditional: Whether a network with classes was also trained without them.
    """
    layout = network.layout
    shape = (layout.img_channels, layout.img_resolution, layout.img_resolution)
    prior = NetworkPrior(
        network,
        parameterization,
        shape,
        classes=layout.label_dim,
        unconditional=unconditional,
        multiple=None,
        clip=settings.clip,
    )
    return settings.of(prior)


def is_edm(config: Mapping[str, Any]) -> bool:
    """Return whether the settings of a weights file are those of an EDM network."""
    return config.get("class_name") in PARAMETERIZATIONS


def _layout(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> EDMLayout:
    names = {field.name for field in fields(EDMLayout)}
    own = {k: v for k, v in config.items() if k in names}
    lists = {k: tuple(v) for k, v in own.items() if isinstance(v, list)}
    layout = EDMLayout(**{**defaults, **own, **lists})
    check_channels(layout.img_channels, layout.img_channels)
    check_side(layout.img_resolution)
    hints = get_type_hints(EDMLayout)
    for field in fields(EDMLayout):
        value = getattr(layout, field.name)
        if isinstance(value, tuple):
            for number in value:
                check(f"each of its {field.name}", number, Annotated[int, Within(1, MOST)])
        elif hints[field.name] is int:
            check(f"its {field.name}", value, Annotated[int, Within(0, MOST)])
    return layout


def _level(name: str, value: Any) -> float:
    """Return a noise level, or another number of the training, of the settings file."""
    check(f"its {name}", value, Positive)
    return float(value)
