"""What a run draws its batches from, and what it keeps apart for validation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import SettingError
from ..validation import Checked, Share
from .image_files import Image, Skipped

__all__ = ["Crops", "Data", "WholeRows", "rounded"]


@dataclass(frozen=True, kw_only=True)
class Crops(Checked):
    """How crops of photographs are drawn. Half of all crops are mirrored.

    Arguments:
        half: Share of the crops that come from a copy of half the size. Copies show the network a
            texture at several frequencies.
        quarter: Share of the crops that come from a copy of a quarter of the size.
        turn: Share of the crops that are turned by a random multiple of 90 degrees.
    """

    half: Share = 0.3
    quarter: Share = 0.1
    turn: Share = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.half + self.quarter > 1:
            raise SettingError(
                f"half and quarter of Crops are at most 1 together, got {self.half} and "
                f"{self.quarter}"
            )


class Data(ABC):
    """What a run learns from: images, latents, points or bits.

    Attributes:
        sources: What there is of each source, by its name.
        skipped: Files that were passed over.
        validation: Images that are kept for validation, uint8 of shape ``(H, W, C)``.
        classes: Number of classes; 0 for none.
        binary: Whether states are bits.
    """

    sources: Mapping[str, Sequence[Any]]
    skipped: Skipped
    validation: list[Image]
    classes: int = 0
    binary: bool = False

    @property
    def deviation(self) -> float:
        """Standard deviation of the numbers of a state, to two digits."""
        return 0.5

    @abstractmethod
    def shape_at(self, side: int) -> tuple[int, ...]:
        """Return the shape of a state; that of photographs is a crop of a side in pixels."""

    @abstractmethod
    def to(self, device: str | torch.device) -> Self:
        """Move what is drawn from to a device."""

    @abstractmethod
    def check_room(self, side: int) -> None:
        """Check that batches of a side can be drawn.

        Raises:
            ImageError: If hardly any image is large enough.
        """

    @abstractmethod
    def batch(
        self,
        rng: np.random.Generator,
        n: int,
        side: int,
        crops: Crops = Crops(),  # noqa: B008 (frozen)
        rows: slice = slice(None),  # noqa: B008
    ) -> tuple[Tensor, Tensor | None]:
        """Return random states ``(n, *shape)``, and the labels ``(n,)`` of those that have any.

        Images are uint8; other states are float32, as the network sees them.

        Arguments:
            rng: Source of randomness.
            n: Number of states.
            side: Side of the crops in pixels; what is whole is not cropped.
            crops: How crops are drawn.
            rows: Which of the states are returned.
        """

    def held_out(self, side: int, most: int | None = None) -> list[Image]:
        """Return the middles of the validation images that are large enough, ``(side, side, C)``.

        Arguments:
            side: Side of the middles in pixels.
            most: The most images; by default all.
        """
        large = [x for x in self.validation if min(x.shape[:2]) >= side]
        return [_middle(x, side) for x in large[:most]]


class WholeRows(Data):
    """Rows of one shape in memory, which are drawn whole.

    Attributes:
        pixels: The rows, of shape ``(N, *shape)``.
        labels: The class of each, int64 of shape ``(N,)``; None where there are no classes.
    """

    pixels: Tensor
    labels: Tensor | None = None

    def shape_at(self, side: int) -> tuple[int, ...]:
        return tuple(self.pixels.shape[1:])

    def to(self, device: str | torch.device) -> Self:
        self.pixels = self.pixels.to(device)
        self.labels = None if self.labels is None else self.labels.to(device)
        return self

    def check_room(self, side: int) -> None:
        """Do nothing: rows are whole."""

    def batch(
        self,
        rng: np.random.Generator,
        n: int,
        side: int,
        crops: Crops = Crops(),  # noqa: B008 (frozen)
        rows: slice = slice(None),  # noqa: B008
    ) -> tuple[Tensor, Tensor | None]:
        drawn = torch.from_numpy(rng.integers(len(self.pixels), size=n))
        index = drawn[rows].to(self.pixels.device)
        return self.pixels[index], None if self.labels is None else self.labels[index]


def rounded(deviation: float) -> float:
    """Return a standard deviation to two digits, and never as 0."""
    return max(round(deviation, 2), 0.01)


def _middle(x: Image, side: int) -> Image:
    i, j = ((n - side) // 2 for n in x.shape[:2])
    return x[i : i + side, j : j + side]
