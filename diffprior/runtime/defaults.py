"""The method of a task: the one that was asked for, or the one that is usual for its prior."""

from typing import Any

from ..catalog import build
from ..methods.base import Method
from ..priors.base import Prior

__all__ = ["BEHIND", "DECODED", "choose_method", "default_method"]

BEHIND = (  # a decoder, for one answer and for several; docs/methods.md has the figures
    "resample(sampler=ancestral(steps=50), iterations=10, rate=0.1)",
    "daps(steps=50, var=1.0, inner='hmc', iterations=20)",
)
DECODED = 0.02  # [0, 1]; the noise that is reckoned with in exact data behind a decoder


def choose_method(
    method: Method[Any] | str | None, default: Method[Any] | str, steps: int | None
) -> Method[Any]:
    """Return the method that was asked for, or else the default, at this number of steps."""
    given = default if method is None else method
    chosen = given if isinstance(given, Method) else build(given, ("methods",))
    return chosen if steps is None else chosen.with_steps(steps)


def default_method(prior: Prior, samples: int, one: str, several: str) -> str:
    """Return the method where none is given: for one answer, for several, or behind a decoder."""
    one, several = BEHIND if prior.latent else (one, several)
    return one if samples == 1 else several
