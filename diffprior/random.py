"""One stream of noise per sample, whatever else is in the batch.

A stream is a function of (seed, name of the image, number of the sample). Streams are numpy's
Philox generators, drawn on the CPU and moved, so that a CPU and a GPU see the same numbers; the
price on a 512 x 512 image is about 5 ms a draw.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from .errors import SettingError

__all__ = ["Noise", "stream_ids"]

BLOCK = 1024  # numbers drawn at a time by a stream of small states


class _Stream:
    """Numbers in one fixed order, whatever the sizes they are taken in."""

    def __init__(self, entropy: Sequence[int], uniform: bool) -> None:
        self.entropy, self.uniform = entropy, uniform
        self.rng: np.random.Generator | None = None
        self.left = np.empty(0, np.float32)

    def take(self, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        if len(self.left) < count:
            if self.rng is None:
                self.rng = np.random.Generator(
                    np.random.Philox(np.random.SeedSequence(self.entropy))
                )
            draw = self.rng.random if self.uniform else self.rng.standard_normal
            more = draw(max(count - len(self.left), BLOCK), np.float32)
            self.left = np.concatenate([self.left, more]) if len(self.left) else more
        out, self.left = self.left[:count], self.left[count:]
        return out


class Noise:
    """The streams of the rows of a batch: ``samples`` rows for each name, images first.

    Arguments:
        seed: Any integer that is not negative.
        ids: What tells one image's streams from another's; images of one name share theirs.
        samples: How many rows belong to each image.
    """

    def __init__(self, seed: int, ids: Sequence[int | str] = (0,), samples: int = 1) -> None:
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise SettingError(f"a seed is an integer from 0 on, got {seed}")
        rows = [(seed, _number(name), j) for name in ids for j in range(samples)]
        self._normal = [_Stream((*row, 0), uniform=False) for row in rows]
        self._uniform = [_Stream((*row, 1), uniform=True) for row in rows]

    def __len__(self) -> int:
        return len(self._normal)

    def rows(self, index: Iterable[int]) -> "Noise":
        """Return the streams of some rows; they are shared, not copied."""
        part = Noise(0, ())
        index = list(index)
        part._normal = [self._normal[i] for i in index]
        part._uniform = [self._uniform[i] for i in index]
        return part

    def normal(self, like: Tensor) -> Tensor:
        """Draw standard normal numbers of the shape, dtype and device of ``like``."""
        return _fill(self._normal, like)

    def uniform(self, like: Tensor) -> Tensor:
        """Draw numbers uniform in [0, 1) of the shape, dtype and device of ``like``."""
        return _fill(self._uniform, like)


def stream_ids(ids: Sequence[int | str] | None, count: int) -> Sequence[int | str]:
    """Return the ids of the streams of so many images; one for all where none are given."""
    if ids is None:
        return [0] * count
    if len(ids) != count:
        raise SettingError(f"there are {len(ids)} ids for {count} images")
    return ids


def _fill(streams: list[_Stream], like: Tensor) -> Tensor:
    if len(streams) != len(like):
        raise ValueError(f"{len(streams)} streams of noise cannot fill a batch of {len(like)}")
    draws = np.stack([stream.take(like[0].numel()) for stream in streams])
    return torch.from_numpy(draws).reshape(like.shape).to(like)


def _number(name: int | str) -> int:
    if isinstance(name, int):
        return name
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
