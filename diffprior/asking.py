"""What a task asks of its prior: opened and steered as its settings say, and told to the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .deploy import ready
from .images import pictures
from .priors.base import Prior
from .priors.conditions import guidance_of
from .results import provenance
from .trajectories import digest

__all__ = ["opened", "said", "weighed"]

CONDITION = {"prompt", "negative", "label", "guidance"}


def said(**settings: Any) -> dict[str, Any]:
    """Return those settings that were given, which are not None."""
    return {k: v for k, v in settings.items() if v is not None}


def opened(
    task: str,
    prior: Prior | str | Path | None,
    shape: Sequence[int | None],
    *,
    device: str | torch.device | None = None,
    precision: str = "auto",
    tile: int | None = None,
    control: Any = None,
    offload: bool = False,
    **asked: Any,
) -> tuple[Prior, dict[str, Any]]:
    """Return the prior of a task, ready, and the report that begins with what was asked of it.

    Arguments:
        prior, shape, device, precision, tile: As of ``diffprior.deploy.ready``.
        control: The picture that its ControlNet follows; the report has the hash of it.
        offload: As of ``diffprior.pipelines.load_pipeline``.
        asked: Its condition, and weights that are added: prompt, negative, label, guidance, lora,
            lora_scale, controlnet; None is nothing.
    """
    asked, more = said(**asked), {"control": control, "offload": offload or None}
    model = ready(prior, shape, device=device, precision=precision, tile=tile, **more, **asked)
    told = {k: str(v) if isinstance(v, Path) else v for k, v in asked.items()}
    told |= {} if control is None else {"control": digest(pictures(control))}
    return model, provenance(model, task=task, **told | weighed(model, asked))


def weighed(model: Prior, asked: Mapping[str, Any]) -> dict[str, float]:
    """Return what a report says of how much is made of what was asked, if it was a condition."""
    return {"guidance": guidance_of(model)} if CONDITION & asked.keys() else {}
