"""What a task asks of its prior: opened and steered as its settings say, and told to the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch

from ..io.arrays import as_images, digest
from ..priors._conditions import guidance_of
from ..priors.base import Prior
from .placement import prepare_prior
from .report import provenance

__all__ = [
    "LoadSettings",
    "PriorSettings",
    "Condition",
    "FromFile",
    "open_prior",
    "split_settings",
    "not_none",
    "report_header",
    "guidance_entry",
]


@dataclass(frozen=True)
class FromFile:
    """Marks a parameter that is an image, and a path at the command line."""

    help: str


class Condition(TypedDict, total=False):
    """What a prior that knows texts or classes is to show.

    Attributes:
        prompt: What the image is to show.
        negative: What to move away from; the empty text where not given.
        label: The class that the image is to have.
        guidance: w of ``diffprior.priors.guided``, 1 being the condition alone; by default the
            model's own or 7.5 of a prompt, and 3 of a label.
    """

    prompt: Annotated[str | None, "What it is to show, for a text-to-image prior."]
    negative: Annotated[str | None, "What to move away from."]
    label: Annotated[int | None, "Its class, for a prior of classes."]
    guidance: Annotated[float | None, "How much of prompt or label; 1 is plainly that."]


class LoadSettings(TypedDict, total=False):
    """What a text-to-image prior is opened with; what is None, or left out, is nothing.

    A prior that was opened before has its own; only ``control`` can be given beside it.

    Attributes:
        lora: A file, folder or hub id of low-rank changes, at the scale ``lora_scale``.
        controlnet: A folder or hub id; it follows ``control``, an image of the size of the result:
            edges or depths or what else it was trained on.
        offload: Whether all but the part at work waits in main memory.
    """

    lora: Annotated[str | Path | None, "Low-rank changes to a text-to-image prior."]
    lora_scale: Annotated[float | None, "How much of them; 1 where not given."]
    controlnet: Annotated[str | Path | None, "A ControlNet of a text-to-image prior."]
    control: Annotated[Any, FromFile("What a ControlNet follows.")]
    offload: Annotated[bool, "Keep but the network at work on the GPU."]


class PriorSettings(Condition, LoadSettings, total=False):
    """All that a task asks of its prior: what it is to show, and what it is opened with."""


def not_none(**settings: Any) -> dict[str, Any]:
    """Return those settings that were given, which are not None."""
    return {k: v for k, v in settings.items() if v is not None}


def split_settings(task: str, asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what of ``Asked`` a prior is opened with, and what it is asked for then."""
    if unknown := sorted(asked.keys() - PriorSettings.__annotations__.keys()):
        raise TypeError(f"{task}() got an unexpected keyword argument {unknown[0]!r}")
    given = not_none(**{**asked, "offload": asked.get("offload") or None})
    opens = LoadSettings.__annotations__.keys() - {"control"}
    opening = {k: v for k, v in given.items() if k in opens}
    return opening, {k: v for k, v in given.items() if k not in opens}


def open_prior(
    task: str,
    prior: Prior | str | Path | None,
    shape: Sequence[int | None],
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    **asked: Any,
) -> tuple[Prior, dict[str, Any]]:
    """Return the prior of a task, ready, and the report that begins with what was asked of it.

    Arguments:
        prior, shape, tile, device, precision: As of ``diffprior.runtime.placement.prepare_prior``.
        asked: As of ``Asked``.
    """
    opening, rest = split_settings(task, asked)
    model = prepare_prior(
        prior, shape, device=device, precision=precision, tile=tile, **opening, **rest
    )
    return model, report_header(task, model, asked)


def report_header(task: str, model: Prior, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of a task that begins with what was asked of its prior."""
    given = {k: v for k, v in not_none(**asked).items() if k != "offload"}
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
    if "control" in plain:
        plain["control"] = digest(as_images(plain["control"]))
    return provenance(model, task=task, **plain | guidance_entry(model, plain))


def guidance_entry(model: Prior, asked: Mapping[str, Any]) -> dict[str, float]:
    """Return what a report says of how much is made of what was asked, if it was a condition."""
    steered = any(asked.get(k) is not None for k in Condition.__annotations__)
    return {"guidance": guidance_of(model)} if steered else {}
