"""The shared settings of one call of a task."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..batching import Callback
from ..errors import SettingError
from ..methods.base import Method
from ..priors.base import Prior
from ..validation import shown

__all__ = ["MethodSetting", "Settings", "check_counts", "not_none", "with_condition"]

MethodSetting = Method[Any] | type[Method[Any]] | Callable[[], Method[Any]] | str | None

SAMPLES, STEPS = 10_000, 100_000  # the most of one call

# Parameters that reports and the files of inversions have by shorter words.
SHORT = {"negative_prompt": "negative", "guidance_scale": "guidance"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a call says beyond its image and its task; ``runtime.parameters`` explains each field.

    A task that lacks one of these parameters leaves it at its default here.

    Raises:
        SettingError: If a count is no whole number from 1 on.
    """

    prior: Prior | str | Path | None = None
    tile_size: int | str | None = "auto"
    device: str | torch.device | None = None
    dtype: str | torch.dtype = "auto"
    backend: str | None = None
    lora: str | Path | None = None
    lora_scale: float | None = None
    controlnet: str | Path | None = None
    control_image: Any = None
    offload: bool = False

    prompt: str | None = None
    negative_prompt: str | None = None
    label: int | None = None
    guidance_scale: float | None = None
    source_prompt: str | None = None
    source_label: int | None = None
    source_guidance_scale: float | None = None

    method: MethodSetting = None
    steps: int | None = None
    samples: int = 1
    seed: int = 0
    ids: Sequence[int | str] | None = None
    callback: Callback | None = None

    def __post_init__(self) -> None:
        check_counts(self.samples, self.steps)
        for name in ("guidance_scale", "source_guidance_scale", "lora_scale"):
            scale = getattr(self, name)
            if isinstance(scale, float) and not math.isfinite(scale):
                raise SettingError(f"{name} is a finite number, got {scale}")

    @property
    def condition(self) -> dict[str, Any]:
        """What the result is to show, by the words of reports and inversion files."""
        names = ("prompt", "negative_prompt", "label", "guidance_scale")
        return not_none(**{SHORT.get(name, name): getattr(self, name) for name in names})

    @property
    def source_condition(self) -> dict[str, Any]:
        """What the image shows before an edit, by the same words."""
        return not_none(
            prompt=self.source_prompt,
            label=self.source_label,
            guidance=self.source_guidance_scale,
        )

    @property
    def loading(self) -> dict[str, Any]:
        """What a prior is loaded with, as keywords of ``load_prior``."""
        return not_none(
            lora=self.lora,
            lora_scale=self.lora_scale,
            controlnet=self.controlnet,
            offload=self.offload or None,
        )


def check_counts(samples: Any, steps: Any) -> None:
    """Check the number of samples, and that of steps where it is not None.

    Raises:
        SettingError: If a count is no whole number, or out of bounds.
    """
    counts = {"samples": (samples, SAMPLES), "steps": (1 if steps is None else steps, STEPS)}
    for name, (count, most) in counts.items():
        if not isinstance(count, int | np.integer) or not 1 <= count <= most:
            got = shown(count, 40)
            raise SettingError(f"{name} are a whole number from 1 to {most}, got {got}")


def not_none(**settings: Any) -> dict[str, Any]:
    """Return the settings that are not None."""
    return {name: value for name, value in settings.items() if value is not None}


def with_condition(prior: Prior, condition: Mapping[str, Any]) -> Prior:
    """Return a prior under a condition that is in the words of reports and inversion files.

    Raises:
        SettingError: If the prior knows nothing of the kind, or needs a label and gets none.
    """
    long = {short: name for name, short in SHORT.items()}
    try:
        prior = prior.with_condition(**{long.get(k, k): v for k, v in condition.items()})
    except ValueError as error:
        raise SettingError(str(error)) from error
    if prior.needs_label and prior.label is None:
        raise SettingError(
            f"{prior.name} knows images of its {prior.classes} classes alone: label is one of "
            f"0 ... {prior.classes - 1} (and source_label, where a task inverts an image)"
        )
    return prior
