"""Refuse, in one sentence, what no task can work with."""

import numpy as np

from ..catalog import SettingError
from ..errors import TaskError
from ..priors.base import Prior
from .memory import picture

__all__ = ["demand", "demand_colours"]


def demand(*, samples: int, steps: int | None) -> None:
    """Refuse settings that no task can work with."""
    for name, count in {"samples": samples, "steps": 1 if steps is None else steps}.items():
        if not isinstance(count, int | np.integer) or count < 1:
            raise SettingError(f"{name} are a whole number from 1 on, got {count}")


def demand_colours(model: Prior, wanted: bool = True) -> None:
    """Refuse to make up colours with a prior that knows none."""
    if wanted and picture(model)[0] == 1:
        raise TaskError("this prior is one of grey pictures, and knows no colours")
