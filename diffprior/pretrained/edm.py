"""NVlabs EDM networks (VP, VE and EDM preconditioning), converted from their pickles."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from ..networks.edm import EDMLayout, EDMUNet
from ..networks.parameterizations import VE, VP, Karras, Parameterization
from ..priors.network import NetworkPrior
from .checkpoints import fit, read, settings_beside
from .diffusers import NetworkSettings

__all__ = ["edm_prior", "is_edm", "load_edm"]

PARAMETERIZATIONS: dict[str, tuple[Callable[..., Parameterization], tuple[str, ...]]] = {
    "EDMPrecond": (Karras, ("sigma_data",)),
    "VPPrecond": (VP, ("beta_d", "beta_min")),
    "VEPrecond": (VE, ("sigma_min", "sigma_max")),
}
ADM = {"model_channels": 192, "channel_mult": (1, 2, 3, 4), "num_blocks": 3}
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
    with torch.device("meta"):
        network = EDMUNet(_layout(NETWORKS[kind], config))
    fit(network, {k.removeprefix("model."): v for k, v in read(file).items()})
    own = {k: config[k] for k in names if k in config}
    return edm_prior(network, parameterization(**own), settings)


def edm_prior(
    network: EDMUNet,
    parameterization: Parameterization,
    settings: NetworkSettings = NetworkSettings(),  # noqa: B008
) -> NetworkPrior:
    """Return the prior of an ``EDMUNet`` with its preconditioning."""
    layout = network.layout
    shape = (layout.img_channels, layout.img_resolution, layout.img_resolution)
    prior = NetworkPrior(
        network,
        parameterization,
        shape,
        classes=layout.label_dim,
        multiple=None,
        clip=settings.clip,
    )
    return prior.for_label(settings.label)


def is_edm(config: Mapping[str, Any]) -> bool:
    """Return whether the settings of a weights file are those of an EDM network."""
    return config.get("class_name") in PARAMETERIZATIONS


def _layout(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> EDMLayout:
    names = {field.name for field in fields(EDMLayout)}
    own = {k: v for k, v in config.items() if k in names}
    lists = {k: tuple(v) for k, v in own.items() if isinstance(v, list)}
    return EDMLayout(**{**defaults, **own, **lists})
