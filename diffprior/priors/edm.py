"""NVlabs EDM networks (VP, VE and EDM preconditioning), converted from their pickles."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..networks.edm import EDMLayout, EDMUNet
from ..networks.parameterizations import VE, VP, Head, Karras
from ..pretrained.checkpoints import fit, read, settings_beside
from .labelled import LabelledPrior, checked

__all__ = ["EDMPrior", "is_edm"]

HEADS: dict[str, tuple[Callable[..., Head], tuple[str, ...]]] = {
    "EDMPrecond": (Karras, ("sigma_data",)),
    "VPPrecond": (VP, ("beta_d", "beta_min")),
    "VEPrecond": (VE, ("sigma_min", "sigma_max")),
}
ADM = {"model_channels": 192, "channel_mult": (1, 2, 3, 4), "num_blocks": 3}
NETWORKS: dict[str, dict[str, Any]] = {
    "SongUNet": {"song": True},
    "DhariwalUNet": {"song": False, **ADM, "attn_resolutions": (32, 16, 8)},
}


class EDMPrior(LabelledPrior):
    """An ``EDMUNet`` within its preconditioning.

    Arguments:
        network: The network.
        head: How it is asked, and read.
        label: The class, where the network has classes.
        clip: Whether E[x_0 | x_t] is clipped to [-1, 1]; theory has no clipping.
    """

    def __init__(
        self, network: EDMUNet, head: Head, label: int | None = None, clip: bool = False
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        layout = network.layout
        self.classes, self.head, self.clip = layout.label_dim, head, clip
        self.label = checked(label, self.classes)
        self.shape = (layout.img_channels, layout.img_resolution, layout.img_resolution)
        self.diffusion = GaussianDiffusion(head.schedule)

    @classmethod
    def load(cls, file: Path, *, label: int | None = None, clip: bool = False) -> "EDMPrior":
        """Open a weights file, with the JSON file of its own name that says what network it is."""
        config = settings_beside(file)
        head, words = HEADS[config["class_name"]]
        kind = config.get("model_type", "SongUNet")
        if kind not in NETWORKS or config.get("decoder_type", "standard") != "standard":
            raise ValueError(f"no standard network {kind!r}; there are {', '.join(NETWORKS)}")
        with torch.device("meta"):
            network = EDMUNet(_layout(NETWORKS[kind], config))
        fit(network, {k.removeprefix("model."): v for k, v in read(file).items()})
        given = {k: config[k] for k in words if k in config}
        return cls(network, head(**given), label, clip)

    def estimate(self, x_t: Tensor, t: Tensor) -> Tensor:
        x, c_noise = self.head.ask(x_t, t)
        out = self.network(x, c_noise.to(x_t).expand(len(x_t)), self.labels(x_t))
        x_0 = self.head.mean(x_t, t, out)
        return x_0.clamp(-1, 1) if self.clip else x_0


def is_edm(config: Mapping[str, Any]) -> bool:
    """Return whether what lies beside a weights file says that it is one of these."""
    return config.get("class_name") in HEADS


def _layout(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> EDMLayout:
    words = {field.name for field in fields(EDMLayout)}
    given = {k: v for k, v in config.items() if k in words}
    lists = {k: tuple(v) for k, v in given.items() if isinstance(v, list)}
    return EDMLayout(**{**defaults, **given, **lists})
