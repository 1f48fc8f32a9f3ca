"""Settings that files do not say: the class of a network, and checks that many loaders share."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from ..priors.network import NetworkPrior
from ..validation import ANYWHERE, check

__all__ = ["MOST_PIXELS", "LabelSettings", "check_channels", "check_side", "several"]

P = TypeVar("P", bound=NetworkPrior)
MOST_PIXELS = 16384  # the largest side of the images of a network


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """The class of a network's images.

    Attributes:
        label: The class, for a network with classes.
        null_label: The class that stands for no class, if the network was trained with one.

    Raises:
        SettingError: If a setting does not fit its annotation.
    """

    label: int | None = None
    null_label: int | None = None

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in fields(self):
            if field.name not in ("label", "null_label"):  # the network knows their range
                check(field.name, getattr(self, field.name), hints[field.name])

    def of(self, prior: P) -> P:
        """Return the prior of this class; without one it is asked for when it is needed."""
        if self.null_label is not None:
            prior = prior.with_null_label(self.null_label)
        return prior if self.label is None else prior.for_label(self.label)


def several(given: Path | str | Sequence[Path | str] | None) -> list[Path | str]:
    """Return what a setting names, one thing or several, as a list."""
    if not given:
        return []
    return [given] if isinstance(given, Path | str) else [*given]


def check_channels(inner: int, outer: int) -> None:
    """Refuse a network that is no prior of gray or color images, with or without variances."""
    if inner in (1, 3) and outer in (inner, 2 * inner):
        return
    raise ValueError(
        f"its network makes {outer} channels of {inner}, and a prior of images makes 1 or 2 of 1, "
        "3 or 6 of 3: it may see a second image, as upsamplers do, or be a network of latents"
    )


def check_side(size: Any) -> None:
    """Refuse a side of images that no network has."""
    check("sample_size", size, int, ANYWHERE)
    if not 1 <= size <= MOST_PIXELS:
        raise ValueError(f"its images are to have sides of 1 ... {MOST_PIXELS} pixels, got {size}")
