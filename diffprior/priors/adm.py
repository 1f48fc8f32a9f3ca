"""Guided-diffusion (ADM) weights of OpenAI and their kin: ImageNet, LSUN, FFHQ of DPS, P2."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..networks.adm import ADM, Layout
from ..networks.parameterizations import Discrete, cosine_table, linear_table
from ..pretrained.checkpoints import fit, read
from .labelled import LabelledPrior, checked

__all__ = ["ADMPrior"]

TABLES = {"linear": linear_table, "cosine": cosine_table}
# (channels, widths / channels, blocks, updown): what the weights of the published networks hide
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


class ADMPrior(LabelledPrior):
    """An ``ADM`` network on its table of steps; learned variances are cut off.

    Arguments:
        network: The network.
        head: How it is asked, and read.
        size: Side of its images, in pixels.
        label: The class, where the network has classes.
        clip: Whether E[x_0 | x_t] is clipped to [-1, 1]; theory has no clipping.
    """

    def __init__(
        self, network: ADM, head: Discrete, size: int, label: int | None = None, clip: bool = False
    ) -> None:
        super().__init__()
        if size < network.stride or size % network.stride:
            raise ValueError(f"size is a multiple of {network.stride} for this network, got {size}")
        self.network = network.requires_grad_(False).eval()
        self.classes = network.layout.classes
        self.head, self.clip, self.label = head, clip, checked(label, self.classes)
        self.shape = (network.layout.in_channels, size, size)
        self.diffusion = GaussianDiffusion(head.schedule)

    @classmethod
    def load(
        cls,
        file: Path,
        *,
        size: int | None = None,
        label: int | None = None,
        heads: int | None = None,
        head_channels: int | None = None,
        order: str | None = None,
        schedule: str | None = None,
        steps: int | None = None,
        scale: float | None = None,
        predicts: str = "epsilon",
        clip: bool = False,
    ) -> "ADMPrior":
        """Open a weights file; what it does not show is known for the published networks.

        Arguments:
            size: Side of the images, in pixels; another than in training at one's own risk.
            label: The class, for a network with classes.
            heads, head_channels: Heads of attention, or the channels of each; 64 channels.
            order: ``legacy`` or ``new`` (``use_new_attention_order``); legacy.
            schedule, steps: ``linear`` or ``cosine``, and its length; linear, 1000.
            scale: What steps are multiplied by: 1000 / steps with ``rescale_timesteps``; 1.
            predicts: ``epsilon`` or ``sample``.
            clip: Whether E[x_0 | x_t] is clipped to [-1, 1].
        """
        given: dict[str, Any] = {
            "size": size,
            "heads": heads,
            "head_channels": head_channels,
            "order": order,
        }
        given |= {"schedule": schedule, "steps": steps, "scale": scale}
        state = read(file)
        if not any(k.startswith("input_blocks.0.") for k in state):
            raise ValueError(
                f"its tensors ({min(state)} ...) are not those of an ADM network; "
                f"an EDM network has {file.stem}.json beside it, which says so"
            )
        settings = _settings(Layout.of(state), {k: v for k, v in given.items() if v is not None})
        read_as = {k: settings[k] for k in ("heads", "head_channels", "order") if k in settings}
        with torch.device("meta"):
            network = ADM(replace(Layout.of(state), **read_as))
        fit(network, state)
        return cls(network, _head(settings, predicts), settings["size"], label, clip)

    def estimate(self, x_t: Tensor, t: Tensor) -> Tensor:
        x, step = self.head.ask(x_t, t)
        out = self.network(x, step.to(x_t).expand(len(x_t)), self.labels(x_t))
        x_0 = self.head.mean(x_t, t, out[:, : x_t.shape[1]])
        return x_0.clamp(-1, 1) if self.clip else x_0


def _settings(layout: Layout, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given over what is known of the published network of this layout."""
    c, out = layout.in_channels, layout.out_channels
    if c not in (1, 3) or out not in (c, 2 * c):
        raise ValueError(
            f"its network makes {out} channels of {c}, and a prior of images makes 1 or 2 of 1, "
            "3 or 6 of 3: it may be an upsampler, or a network of latents"
        )
    mult = tuple(w / layout.channels for w in layout.widths)
    known = PUBLISHED.get((layout.channels, mult, layout.blocks, layout.updown), {})
    if {"heads", "head_channels"} & given.keys():
        known = {k: v for k, v in known.items() if k != "heads"}
    settings = {"schedule": "linear", "steps": 1000, "scale": 1.0, **known, **given}
    if "size" not in settings:
        raise ValueError(
            f"its layout, {layout.channels} channels times {', '.join(f'{m:g}' for m in mult)}, is "
            "that of no published network: give size=, and heads=, head_channels=, order=, "
            "schedule= or steps= where they are not 0, 64, legacy, linear and 1000"
        )
    return settings


def _head(settings: Mapping[str, Any], predicts: str) -> Discrete:
    if settings["schedule"] not in TABLES:
        raise ValueError(f"no schedule {settings['schedule']!r}; there are {', '.join(TABLES)}")
    table = TABLES[settings["schedule"]](settings["steps"])
    return Discrete(table, predicts, settings["scale"])
