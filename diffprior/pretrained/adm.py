"""Guided-diffusion (ADM) weights of OpenAI and their kin: ImageNet, LSUN, FFHQ of DPS, P2."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from ..networks.adm import ADM, Layout
from ..networks.parameterizations import Discrete, cosine_table, linear_table
from ..priors.network import NetworkPrior
from ..validation import Positive, Within
from .checkpoints import fit, read, room, size_of, tensors_in
from .layouts import Network, network_in
from .settings import MOST_PIXELS, LabelSettings, check_channels

__all__ = ["ADMSettings", "adm_prior", "complete", "load_adm"]

TABLES = {"linear": linear_table, "cosine": cosine_table}
# (channels, widths / channels, blocks, updown): settings that the published weights do not show
PUBLISHED: dict[tuple[int, tuple[float, ...], int, bool], dict[str, Any]] = {
    (192, (1, 2, 3, 4), 3, True): {"size": 64, "order": "new", "schedule": "cosine"},
    (256, (1, 1, 2, 3, 4), 2, True): {"size": 128, "heads": 4},
    (256, (1, 1, 2, 2, 4, 4), 2, True): {"size": 256},  # ImageNet with classes or without, LSUN
    (256, (0.5, 1, 1, 2, 2, 4, 4), 2, True): {"size": 512},
    (128, (1, 1, 2, 2, 4, 4), 1, True): {"size": 256},  # FFHQ, and what P2 trained
    (128, (1, 2, 3, 4), 3, False): {
        "size": 64, "heads": 4, "schedule": "cosine", "steps": 4000, "scale": 0.25
    },
    (128, (1, 2, 2, 2), 3, False): {
        "size": 32, "heads": 4, "schedule": "cosine", "steps": 4000, "scale": 0.25
    },
    (192, (1, 2, 3, 4), 3, False): {"size": 64, "heads": 4, "schedule": "cosine", "steps": 4000},
    (128, (1, 1, 2, 2, 4, 4), 2, False): {"size": 256, "heads": 1},
}  # fmt: skip
ANCHORS = ("input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight")
Steps = Annotated[int, Within(1, 100_000)]


@dataclass(frozen=True, kw_only=True)
class ADMSettings(LabelSettings):
    """What a weights file does not show; None is what the published networks have.

    Attributes:
        size: Side of the images, in pixels. Sizes other than that of the training may work.
        label: The class, for a network with classes.
        null_label: The class that stands for no class, if the network was trained with one.
        heads: Number of attention heads.
        head_channels: Channels of each attention head; by default 64.
        order: ``legacy`` (the default) or ``new`` (``use_new_attention_order``).
        schedule: ``linear`` (the default) or ``cosine``. If betas lie beside the weights, they are
            the default.
        steps: Length of the schedule; by default 1000.
        scale: What steps are multiplied by: 1000 / steps with ``rescale_timesteps``, otherwise 1.
        predicts: ``epsilon`` or ``sample``.
        clip: Whether E[x_0 | x_t] is clipped to [-1, 1].
    """

    size: Annotated[int, Within(1, MOST_PIXELS)] | None = None
    heads: int | None = None
    head_channels: int | None = None
    order: str | None = None
    schedule: str | None = None
    steps: Steps | None = None
    scale: Positive | None = None
    predicts: str = "epsilon"
    clip: bool = False

    def of_network(self) -> dict[str, Any]:
        """Return those settings of the network and its schedule that are not None."""
        others = ("label", "null_label", "predicts", "clip")
        own = {k: v for k, v in asdict(self).items() if k not in others}
        return {k: v for k, v in own.items() if v is not None}


def load_adm(file: Path, settings: ADMSettings) -> NetworkPrior:
    """Open a weights file; of the published networks, the missing settings are known."""
    content = read(file)
    found = network_in(file.name, content, ANCHORS)
    if found is None:
        first = min(name for name, _ in tensors_in(content))
        raise ValueError(
            f"its tensors ({first} ...) are not those of an ADM network; "
            f"an EDM network has {file.stem}.json beside it, which says so"
        )
    layout = Layout.of(found.state)
    chosen = complete(layout, settings.of_network())
    attention = {k: chosen[k] for k in ("heads", "head_channels", "order") if k in chosen}
    with torch.device("meta"), room(size_of(found.state)):
        network = ADM(replace(layout, **attention))
    fit(network, found.state)
    discrete = Discrete(_table(found, chosen, settings), settings.predicts, chosen["scale"])
    return adm_prior(network, discrete, chosen["size"], settings)


def adm_prior(
    network: ADM,
    parameterization: Discrete,
    size: int,
    settings: ADMSettings = ADMSettings(),  # noqa: B008
) -> NetworkPrior:
    """Return the prior of an ``ADM`` network for images of one size, with label and clipping."""
    layout = network.layout
    if size < network.stride or size % network.stride:
        raise ValueError(f"size is a multiple of {network.stride} for this network, got {size}")
    shape = (layout.in_channels, size, size)
    prior = NetworkPrior(
        network,
        parameterization,
        shape,
        classes=layout.classes,
        multiple=None,
        clip=settings.clip,
    )
    return settings.of(prior)


def complete(layout: Layout, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, completed by those of the published network of this layout."""
    c = layout.in_channels
    out = layout.out_channels
    check_channels(c, out)
    mult = tuple(w / layout.channels for w in layout.widths)
    known = PUBLISHED.get((layout.channels, mult, layout.blocks, layout.updown), {})
    if {"heads", "head_channels"} & settings.keys():
        known = {k: v for k, v in known.items() if k != "heads"}
    chosen = {"schedule": "linear", "steps": 1000, "scale": 1.0, **known, **settings}
    if "size" not in chosen:
        raise ValueError(
            f"its layout, {layout.channels} channels times {', '.join(f'{m:g}' for m in mult)}, is "
            "that of no published network: set size=, and heads=, head_channels=, order=, "
            "schedule= or steps= if they are not 0, 64, legacy, linear and 1000"
        )
    return chosen


def _table(found: Network, chosen: Mapping[str, Any], given: ADMSettings) -> Tensor:
    """Return the products of 1 - beta: those in the file, if no setting says another schedule."""
    if found.table is not None and given.schedule is None and given.steps is None:
        return found.table
    if chosen["schedule"] not in TABLES:
        raise ValueError(f"no schedule {chosen['schedule']!r}; there are {', '.join(TABLES)}")
    return TABLES[chosen["schedule"]](chosen["steps"])
