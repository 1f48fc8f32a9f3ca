"""Results of finished jobs, on disk: memory holds what is asked for, and only while it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cli import work
from ..io.metadata import Metadata
from . import previews

__all__ = ["Saved"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The samples of a result in a folder, with the attributes that the command line writes from.

    Attributes:
        folder: The folder.
        count: The number of samples; 0 for a result that is no image.
        report: How it was made.
    """

    folder: Path
    count: int
    report: Mapping[str, Any]

    @classmethod
    def of(cls, result: Any, folder: Path) -> "Saved":
        """Write a result to a new folder."""
        folder.mkdir()
        saved = cls(folder=folder, count=len(result.samples), report=dict(result.report))
        for k, sample in enumerate(result.samples):
            values, alpha = _parts(sample)
            np.save(folder / f"values-{k}.npy", values, allow_pickle=False)
            if alpha is not None:
                np.save(folder / f"alpha-{k}.npy", alpha, allow_pickle=False)
        if result.std is not None:
            np.save(folder / "std.npy", _flat(result.std), allow_pickle=False)
        if not bool((result.cover == 1).all()):
            np.save(folder / "cover.npy", result.cover.cpu().numpy(), allow_pickle=False)
        return saved

    @property
    def image(self) -> tuple[Array, Array | None]:
        """The first sample."""
        return self._sample(0)

    @property
    def samples(self) -> "_Samples":
        """The samples: values ``(1, H, W, C)`` and alpha ``(1, H, W)``."""
        return _Samples(self)

    @property
    def std(self) -> Array | None:
        """The standard deviation ``(H, W)``, None for one sample."""
        return self._read("std.npy")

    @property
    def deviations(self) -> Array:
        """The standard deviation ``(H, W)`` of a result that has one."""
        std = self.std
        assert std is not None, "one sample has no deviation"
        return std

    @property
    def has_std(self) -> bool:
        """Whether there is a standard deviation."""
        return (self.folder / "std.npy").exists()

    @property
    def cover(self) -> torch.Tensor:
        """Weight of the result over the image, as of ``Result``."""
        cover = self._read("cover.npy")
        if cover is not None:
            return torch.from_numpy(np.array(cover))
        return torch.ones(1, 1, *self._sample(0)[0].shape[1:3])

    def file(self, key: str | int, source: work.Source | None, suffix: str) -> bytes:
        """Return the bytes of a file as the command line writes it."""
        return work.data(key, self, source, suffix, False)

    def preview(self, k: int, about: Metadata | None, side: int) -> tuple[bytes, str]:
        """Return a preview of a sample, and its media type."""
        values, alpha = self._sample(k)
        return previews.encoded(values[0], None if alpha is None else alpha[0], about, side)

    def _sample(self, k: int) -> tuple[Array, Array | None]:
        values = self._read(f"values-{k}.npy")
        assert values is not None, "a result has been forgotten"
        return values, self._read(f"alpha-{k}.npy")

    def _read(self, name: str) -> Array | None:
        path = self.folder / name
        if not path.exists():
            return None
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array


@dataclass(frozen=True)
class _Samples:
    """The samples of a saved result, each read when it is asked for."""

    saved: Saved

    def __len__(self) -> int:
        return self.saved.count

    def __getitem__(self, k: int) -> tuple[Array, Array | None]:
        return self.saved._sample(k)


def _parts(sample: Any) -> tuple[Array, Array | None]:
    """Return values ``(1, H, W, C)`` and alpha of a sample of any kind that tasks give."""
    if isinstance(sample, tuple):
        return sample
    values = np.asarray(sample)
    return (values[None] if values.ndim == 3 else values[None, ..., None]), None


def _flat(std: Any) -> Array:
    """Return deviations ``(H, W)``."""
    array = np.asarray(std, np.float32)
    return array if array.ndim == 2 else array.mean(-1)
