"""Photographs in memory, cut into the crops that a network learns from."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

__all__ = ["Crops", "Photographs"]
Picture = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Crops:
    """How crops are drawn.

    Arguments:
        half, quarter: Shares of the crops that come from a half-size and a quarter-size copy, so
            that a texture is met at several frequencies; the rest are of full size.
        turn: Share that is turned by quarters; every other crop is mirrored.
    """

    half: float = 0.3
    quarter: float = 0.1
    turn: float = 0.25


class Photographs:
    """Pictures in memory as uint8, by source, each at full, half and quarter size.

    Arguments:
        paths: Zips or folders; a picture's source is the name of the folder that it lies in.
        held_out: Every how many-th picture is kept from training, for validation.
        weights: How often each source is drawn, relative to the others; 1 where not given.
    """

    def __init__(
        self, paths: Sequence[Path], held_out: int = 60, weights: Mapping[str, float] | None = None
    ) -> None:
        self.sources: dict[str, list[list[Picture]]] = {}
        self.validation: list[Picture] = []
        for i, (source, picture) in enumerate(_read(paths)):
            if i % held_out == held_out - 1:
                self.validation.append(picture)
            else:
                self.sources.setdefault(source, []).append(_pyramid(picture))
        if not self.sources:
            raise ValueError(f"no picture in {', '.join(map(str, paths)) or 'no path at all'}")
        share = np.array([(weights or {}).get(s, 1.0) for s in self.sources])
        self.names, self.share = list(self.sources), share / share.sum()

    def patch(self, rng: np.random.Generator, side: int, crops: Crops = Crops()) -> Picture:  # noqa: B008
        """Draw one square crop, of shape ``(side, side, 3)``."""
        x = self._level(rng, side, crops)
        i, j = (rng.integers(n - side + 1) for n in x.shape[:2])
        x = x[i : i + side, j : j + side]
        if rng.random() < crops.turn:
            x = np.rot90(x, int(rng.integers(4)))
        return x[:, ::-1] if rng.random() < 0.5 else x

    def _level(self, rng: np.random.Generator, side: int, crops: Crops) -> Picture:
        """Draw a picture at one of its sizes, with room for a crop of this side."""
        for _ in range(1000):
            pyramids = self.sources[self.names[rng.choice(len(self.names), p=self.share)]]
            levels = [x for x in pyramids[rng.integers(len(pyramids))] if min(x.shape[:2]) >= side]
            u = rng.random()
            level = 2 if u < crops.quarter else 1 if u < crops.quarter + crops.half else 0
            if levels:
                return levels[min(level, len(levels) - 1)]
        raise ValueError(f"hardly a picture has room for a crop of {side} pixels")

    def batch(
        self,
        rng: np.random.Generator,
        n: int,
        side: int,
        crops: Crops = Crops(),  # noqa: B008
    ) -> Tensor:
        """Draw crops, uint8 of shape ``(n, 3, side, side)``."""
        drawn = np.stack([self.patch(rng, side, crops) for _ in range(n)])
        return torch.from_numpy(drawn).permute(0, 3, 1, 2)


def _read(paths: Sequence[Path]) -> Iterator[tuple[str, Picture]]:
    for path in paths:
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            pairs = ((p.parent.name, p.read_bytes()) for p in files)
        else:
            archive = zipfile.ZipFile(path)
            pairs = ((Path(n).parent.name, archive.read(n)) for n in sorted(archive.namelist()))
        for source, data in pairs:
            picture = (
                cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
            )
            if picture is not None:
                yield source, np.ascontiguousarray(picture[:, :, ::-1])


def _pyramid(picture: Picture) -> list[Picture]:
    levels = [picture]
    for _ in range(2):
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return levels
