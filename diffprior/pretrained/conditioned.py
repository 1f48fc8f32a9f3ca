"""Folders of a prior that sees what an operator leaves of an image, as it was trained here."""

from functools import partial
from pathlib import Path

from ..catalog import build
from ..operators.base import Operator
from ..priors.conditioned import ConditionedPrior
from .checkpoints import read_json
from .diffusers import NetworkSettings
from .seeing import load_seeing

__all__ = ["load_conditioned"]

LONGEST = 200  # characters of the text of an operator


def load_conditioned(folder: Path, settings: NetworkSettings) -> ConditionedPrior:
    """Open a folder with ``network/``, a network of diffusers, and a config with its operator."""
    words = read_json(folder / "config.json").get("operator")
    if not isinstance(words, str) or len(words) > LONGEST:
        raise ValueError("its config is to have the text of an operator")
    operator: Operator = build(words, ("operators",))
    return load_seeing(folder / "network", settings, partial(ConditionedPrior, operator))
