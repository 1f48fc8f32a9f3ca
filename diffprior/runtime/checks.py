"""Refuse, in one sentence, what no task can work with."""

import numpy as np

from ..catalog import SettingError
from ..errors import TaskError
from ..priors.base import Prior
from .memory import image_shape

__all__ = ["check_counts", "check_colors"]


def check_counts(*, samples: int, steps: int | None) -> None:
    """Refuse settings that no task can work with."""
    for name, count in {"samples": samples, "steps": 1 if steps is None else steps}.items():
        if not isinstance(count, int | np.integer) or count < 1:
            raise SettingError(f"{name} are a whole number from 1 on, got {count}")


def check_colors(model: Prior, wanted: bool = True) -> None:
    """Refuse to make up colors with a prior that knows none."""
    if wanted and image_shape(model)[0] == 1:
        raise TaskError("this prior is one of gray images, and knows no colors")
