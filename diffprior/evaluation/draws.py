"""The random masks and blur kernels of a recipe, each with its settings."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from ..errors import SettingError
from ..operators.generators import kernels, masks
from ..validation import Checked, Share, Within, from_file, literal, nearest

__all__ = ["DRAWS", "Draw", "draw_of"]

Taps = Annotated[int, Within(1, 1023)]
Width = Annotated[float, Within(0, 100, above=True)]
Diameter = Annotated[float, Within(0.01, 1)]
Part = Annotated[float, Within(0, 0.9)]  # lines that are drawn at random hardly cover more


class Draw(Checked):
    """What is drawn for an image: a mask, or a blur kernel."""

    @abstractmethod
    def __call__(self, height: int, width: int, seed: int) -> Tensor:
        """Return a mask of shape ``(1, H, W)``, True where a pixel is measured, or a kernel."""


@dataclass(frozen=True, kw_only=True)
class Box(Draw):
    """A box at a random place; its side and its margin are shares of those of the image."""

    side: Share = 0.5
    margin: Share = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side + 2 * self.margin > 1:
            raise SettingError(
                f"a box of {self.side} and margins of {self.margin} do not fit into the image"
            )

    def __call__(self, height: int, width: int, seed: int) -> Tensor:
        return masks.inner_box(height, width, seed, self.side, self.margin)


@dataclass(frozen=True, kw_only=True)
class Pixels(Draw):
    """Single pixels, each lost with the probability ``share``."""

    share: Share = 0.5

    def __call__(self, height: int, width: int, seed: int) -> Tensor:
        return ~masks.pixels(height, width, seed, self.share)


@dataclass(frozen=True, kw_only=True)
class Scratches(Draw):
    """Thin lines over a share of the image."""

    share: Part = 0.1

    def __call__(self, height: int, width: int, seed: int) -> Tensor:
        return ~masks.scratches(height, width, seed, self.share)


@dataclass(frozen=True, kw_only=True)
class Strokes(Draw):
    """Strokes of a wide brush over a share of the image."""

    share: Part = 0.2

    def __call__(self, height: int, width: int, seed: int) -> Tensor:
        return ~masks.strokes(height, width, seed, self.share)


@dataclass(frozen=True, kw_only=True)
class Text(Draw):
    """Lines of text."""

    def __call__(self, height: int, width: int, seed: int) -> Tensor:
        return ~masks.text(height, width, seed)


@dataclass(frozen=True, kw_only=True)
class Blob(Draw):
    """One wide hole; its diameter is uniform in [low, high) of the short side."""

    low: Diameter = 0.18
    high: Diameter = 0.34

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_order(self.low, self.high)

    def __call__(self, height: int, width: int, seed: int) -> Tensor:
        return ~masks.blob(height, width, seed, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Shake(Draw):
    """The blur of a camera shake, of ``size`` taps."""

    size: Taps = 61
    intensity: Share = 0.5

    def __call__(self, height: int, width: int, seed: int) -> Tensor:
        return kernels.motion(self.size, self.intensity, seed)


@dataclass(frozen=True, kw_only=True)
class Gaussian(Draw):
    """A Gaussian blur whose standard deviation is uniform in [low, high), in pixels."""

    low: Width
    high: Width
    size: Taps

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_order(self.low, self.high)

    def __call__(self, height: int, width: int, seed: int) -> Tensor:
        sigma = np.random.default_rng([seed, 6]).uniform(self.low, self.high)
        return kernels.gaussian(sigma, self.size)


DRAWS: dict[str, type[Draw]] = {
    "box": Box,
    "pixels": Pixels,
    "scratches": Scratches,
    "strokes": Strokes,
    "text": Text,
    "blob": Blob,
    "shake": Shake,
    "gaussian": Gaussian,
}


def _check_order(low: float, high: float) -> None:
    if low > high:
        raise SettingError(f"low is at most high, got {low} and {high}")


def draw_of(settings: Mapping[str, Any], where: str = "draw") -> Draw:
    """Return the draw that a recipe or a manifest asks for.

    Arguments:
        settings: One of ``DRAWS`` as ``kind``, and its settings.
        where: The place of the settings, for messages.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in DRAWS:
        raise SettingError(f"{where}: no kind {literal(kind, 40)}; {nearest(kind, DRAWS)}")
    own = {name: value for name, value in settings.items() if name != "kind"}
    return from_file(DRAWS[kind], own, f"{where} of kind {kind}")
