"""Photographs in memory, cut into random crops for training."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
import torch
from torch import Tensor

__all__ = ["Crops", "Image", "Photographs"]

Image = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Crops:
    """How crops are drawn. Half of all crops are mirrored.

    Arguments:
        half: Share of the crops that come from a copy of half the size. Copies show the network a
            texture at several frequencies.
        quarter: Share of the crops that come from a copy of a quarter of the size.
        turn: Share of the crops that are turned by a random multiple of 90 degrees.
    """

    half: float = 0.3
    quarter: float = 0.1
    turn: float = 0.25


class Level(NamedTuple):
    """An image at one size: its pixels follow each other from ``start`` on, row by row."""

    start: int
    height: int
    width: int


class View(NamedTuple):
    """A square of pixels: the index of its corner, and the steps to the next row and column."""

    corner: int
    down: int
    right: int

    def turned(self, side: int) -> "View":
        """Return the same square, turned counterclockwise by 90 degrees."""
        return View(self.corner + self.right * (side - 1), -self.right, self.down)

    def mirrored(self, side: int) -> "View":
        """Return the same square, mirrored from left to right."""
        return View(self.corner + self.right * (side - 1), self.down, -self.right)


class Photographs:
    """Photographs in one tensor of uint8, each at full, half and quarter size.

    A crop, also a turned or mirrored one, is a strided view of this tensor, so that a batch is one
    gather operation on its device.

    Arguments:
        paths: ZIP files or folders. The source of an image is the name of its folder.
        held_out: Every ``held_out``-th image is kept for validation.
        weights: How often a source is drawn, relative to the others; default: 1.

    Attributes:
        sources: Images of each source.
        validation: Images that are kept for validation, of shape ``(H, W, 3)``.

    Raises:
        ValueError: If there is no image.
    """

    def __init__(
        self, paths: Sequence[Path], held_out: int = 60, weights: Mapping[str, float] | None = None
    ) -> None:
        self.sources: dict[str, list[list[Level]]] = {}
        self.validation: list[Image] = []
        memory: list[Tensor] = []
        size = 0
        for i, (source, image) in enumerate(_read(paths)):
            if i % held_out == held_out - 1:
                self.validation.append(image)
                continue
            levels = []
            for x in _pyramid(image):
                levels.append(Level(size, *x.shape[:2]))
                memory.append(torch.from_numpy(x).reshape(-1, 3))
                size += len(memory[-1])
            self.sources.setdefault(source, []).append(levels)
        if not self.sources:
            raise ValueError(f"no image in {', '.join(map(str, paths)) or 'no path at all'}")
        self.pixels = torch.cat(memory)
        share = np.array([(weights or {}).get(s, 1.0) for s in self.sources])
        self.names = list(self.sources)
        self.share = share / share.sum()

    def to(self, device: str | torch.device) -> Self:
        """Move the images to a device."""
        self.pixels = self.pixels.to(device)
        return self

    def view(self, rng: np.random.Generator, side: int, crops: Crops = Crops()) -> View:  # noqa: B008
        """Return a random crop."""
        level = self._level(rng, side, crops)
        i, j = (int(rng.integers(n - side + 1)) for n in level[1:])
        view = View(level.start + i * level.width + j, level.width, 1)
        if rng.random() < crops.turn:
            for _ in range(int(rng.integers(4))):
                view = view.turned(side)
        return view.mirrored(side) if rng.random() < 0.5 else view

    def _level(self, rng: np.random.Generator, side: int, crops: Crops) -> Level:
        """Return a random image at one of its sizes that is large enough for the crop."""
        for _ in range(1000):
            pyramids = self.sources[self.names[rng.choice(len(self.names), p=self.share)]]
            pyramid = pyramids[rng.integers(len(pyramids))]
            levels = [x for x in pyramid if min(x.height, x.width) >= side]
            u = rng.random()
            level = 2 if u < crops.quarter else 1 if u < crops.quarter + crops.half else 0
            if levels:
                return levels[min(level, len(levels) - 1)]
        raise ValueError(f"hardly any image is large enough for a crop of {side} pixels")

    def batch(
        self,
        rng: np.random.Generator,
        n: int,
        side: int,
        crops: Crops = Crops(),  # noqa: B008
    ) -> tuple[Tensor, None]:
        """Return random crops, uint8 of shape ``(n, 3, side, side)``, and None for their labels.

        Arguments:
            rng: Source of randomness.
            n: Number of crops.
            side: Side of the crops in pixels.
            crops: How crops are drawn.
        """
        views = torch.tensor([self.view(rng, side, crops) for _ in range(n)])
        corner, down, right = views.to(self.pixels.device)[:, :, None, None].unbind(1)
        steps = torch.arange(side, device=self.pixels.device)
        crop = self.pixels[corner + down * steps[:, None] + right * steps]
        return crop.permute(0, 3, 1, 2), None


def _read(paths: Sequence[Path]) -> Iterator[tuple[str, Image]]:
    """Yield the source and the pixels of each image; other files are skipped."""
    for path in paths:
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            pairs = ((p.parent.name, p.read_bytes()) for p in files)
        else:
            archive = zipfile.ZipFile(path)
            pairs = ((Path(n).parent.name, archive.read(n)) for n in sorted(archive.namelist()))
        for source, data in pairs:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
            if image is not None:
                yield source, np.ascontiguousarray(image[:, :, ::-1])


def _pyramid(image: Image) -> list[Image]:
    """Return the image at full, half and quarter size."""
    levels = [image]
    for _ in range(2):
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return levels
