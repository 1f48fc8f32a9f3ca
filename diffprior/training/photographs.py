"""Photographs in memory, cut into random crops for training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError, SettingError
from ..validation import Within, check, literal, nearest, shown
from .data import Crops, Data
from .image_files import Image, Skipped, read_images

__all__ = ["Photographs"]

FOUND = 0.02  # share of the draws that must be of an image large enough for a crop


class Level(NamedTuple):
    """An image at one size: its pixels follow each other from ``start`` on, row by row."""

    start: int
    height: int
    width: int


class View(NamedTuple):
    """A square of pixels: the index of its corner, and the steps to the next row and column.

    The numbers of many squares are arrays.
    """

    corner: Any
    down: Any
    right: Any

    def turned(self, side: int) -> "View":
        """Return the same square, turned counterclockwise by 90 degrees."""
        return View(self.corner + self.right * (side - 1), -self.right, self.down)

    def mirrored(self, side: int) -> "View":
        """Return the same square, mirrored from left to right."""
        return View(self.corner + self.right * (side - 1), self.down, -self.right)

    def where(self, chosen: np.ndarray, other: "View") -> "View":
        """Return the chosen ones of these squares, and the rest of others."""
        return View(*(np.where(chosen, a, b) for a, b in zip(self, other, strict=True)))


class _Room(NamedTuple):
    """The images that crops of one side fit into.

    Arguments:
        share: How often each is drawn, of shape ``(P,)``, with sum 1.
        levels: The ``Level`` of each size of each, of shape ``(P, 3, 3)``.
        sizes: How many of the sizes are large enough, of shape ``(P,)``.
    """

    share: np.ndarray
    levels: np.ndarray
    sizes: np.ndarray


class Photographs(Data):
    """Photographs in one tensor of uint8, each at full, half and quarter size.

    A crop, also a turned or mirrored one, is a strided view of this tensor, so that a batch is one
    gather operation on its device.

    Arguments:
        paths: ZIP files or folders. The source of an image is the name of its folder.
        held_out: Every ``held_out``-th image is kept for validation; from 2 on.
        weights: How often a source is drawn, relative to the others; default: 1.

    Attributes:
        sources: Images of each source.
        validation: Images that are kept for validation, of shape ``(H, W, 3)``.
        skipped: Files that were passed over.

    Raises:
        ImageError: If there is no image.
        SettingError: If a path, a weight or ``held_out`` cannot be used.
    """

    def __init__(
        self, paths: Sequence[Path], held_out: int = 60, weights: Mapping[str, float] | None = None
    ) -> None:
        check("held_out", held_out, int, Within(2))
        self.sources: dict[str, list[list[Level]]] = {}
        self.validation: list[Image] = []
        self.skipped = Skipped()
        memory: list[Tensor] = []
        size = 0
        for i, (source, image) in enumerate(read_images(paths, self.skipped)):
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
            places = shown(", ".join(map(str, paths)) or "no path at all", 60)
            found = f"; {self.skipped}" if str(self.skipped) else ""
            raise ImageError(f"no image in {places}{found}")
        self.pixels = torch.cat(memory)
        self.names = list(self.sources)
        self.share = _shares(self.names, weights or {})
        self._rooms: dict[int, _Room] = {}

    def shape_at(self, side: int) -> tuple[int, int, int]:
        return 3, side, side

    def to(self, device: str | torch.device) -> Self:
        self.pixels = self.pixels.to(device)
        return self

    def check_room(self, side: int) -> None:
        large = [
            np.mean([min(levels[0].height, levels[0].width) >= side for levels in images])
            for images in self.sources.values()
        ]
        if np.dot(self.share, large) < FOUND:
            raise ImageError(f"hardly any image is large enough for a crop of {side} pixels")

    def views(self, rng: np.random.Generator, n: int, side: int, crops: Crops) -> View:
        """Return ``n`` random crops, as one view of arrays ``(n,)``."""
        room = self._room(side)
        image = rng.choice(len(room.share), n, p=room.share)
        u = rng.random(n)
        wanted = np.where(u < crops.quarter, 2, np.where(u < crops.quarter + crops.half, 1, 0))
        level = np.minimum(wanted, room.sizes[image] - 1)
        start, height, width = room.levels[image, level].T
        i, j = rng.integers(height - side + 1), rng.integers(width - side + 1)
        view = View(start + i * width + j, width, np.ones_like(width))
        turns = np.where(rng.random(n) < crops.turn, rng.integers(4, size=n), 0)
        for k in range(3):
            view = view.turned(side).where(turns > k, view)
        return view.mirrored(side).where(rng.random(n) < 0.5, view)

    def _room(self, side: int) -> "_Room":
        """Return the images that a crop of this side fits into."""
        if side not in self._rooms:
            share, levels = [], []
            for source, images in zip(self.share, self.sources.values(), strict=True):
                large = [x for x in images if min(x[0].height, x[0].width) >= side]
                share += [source / len(images)] * len(large)
                levels += large
            if not sum(share) > 0:
                raise ImageError(f"hardly any image is large enough for a crop of {side} pixels")
            table = np.array(levels)
            sizes = (table[:, :, 1:].min(2) >= side).sum(1)
            self._rooms[side] = _Room(np.array(share) / sum(share), table, sizes)
        return self._rooms[side]

    def batch(
        self,
        rng: np.random.Generator,
        n: int,
        side: int,
        crops: Crops = Crops(),  # noqa: B008 (frozen)
        rows: slice = slice(None),  # noqa: B008
    ) -> tuple[Tensor, None]:
        """Return random crops, uint8 of shape ``(n, 3, side, side)``, and None for their labels.

        Arguments are those of ``Data.batch``; only the crops of ``rows`` are cut.
        """
        views = torch.from_numpy(np.stack(self.views(rng, n, side, crops), 1))[rows]
        views = views.to(self.pixels.device, non_blocking=True)
        corner, down, right = views[:, :, None, None].unbind(1)
        steps = torch.arange(side, device=self.pixels.device)
        crop = self.pixels[corner + down * steps[:, None] + right * steps]
        return crop.permute(0, 3, 1, 2), None


def _shares(names: Sequence[str], weights: Mapping[str, float]) -> np.ndarray:
    """Return the share of each source in the draws."""
    for name, weight in weights.items():
        if name not in names:
            raise SettingError(f"no source {literal(name)}; {nearest(name, names)}")
        check(f"the weight of {shown(name, 60)}", weight, float)
    each = np.array([weights.get(name, 1.0) for name in names])
    if not each.sum() > 0:
        raise SettingError("the weight of a source must be above 0")
    return np.asarray(each / each.sum())


def _pyramid(image: Image) -> list[Image]:
    """Return the image at full, half and quarter size."""
    levels = [image]
    for _ in range(2):
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return levels
