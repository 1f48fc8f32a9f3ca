"""One stream of random numbers per sample, the same whatever else is in the batch.

A stream is a function of the seed, the id of the image and the number of the sample. Streams are
numpy's Philox generators. They are drawn on the CPU and then moved, so that a CPU and a GPU get the
same numbers; that costs about 5 ms a draw for a 512 x 512 image.
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
    """Numbers in one fixed order, however many are drawn at a time."""

    def __init__(self, entropy: Sequence[int], uniform: bool) -> None:
        self.entropy = entropy
        self.uniform = uniform
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
        out = self.left[:count]
        self.left = self.left[count:]
        return out


class Noise:
    """The streams of the rows of a batch: the samples of the first image, then of the next one.

    Arguments:
        seed: An integer from 0 on.
        ids: An id for each image; images of the same id get the same numbers.
        samples: How many rows each image has.

    Example:
        >>> import torch
        >>> noise = Noise(seed=0, ids=["dog", "cat"], samples=2)
        >>> noise.normal(torch.empty(4, 3)).shape
        torch.Size([4, 3])
    """

    def __init__(self, seed: int, ids: Sequence[int | str] = (0,), samples: int = 1) -> None:
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise SettingError(f"a seed is an integer from 0 on, got {seed}")
        rows = [(seed, _number(id_), j) for id_ in ids for j in range(samples)]
        self._normal = [_Stream((*row, 0), uniform=False) for row in rows]
        self._uniform = [_Stream((*row, 1), uniform=True) for row in rows]

    def __len__(self) -> int:
        return len(self._normal)

    def rows(self, index: Iterable[int]) -> "Noise":
        """Return the streams of some rows, not copies of them: a draw advances both."""
        part = Noise(0, ())
        index = list(index)
        part._normal = [self._normal[i] for i in index]
        part._uniform = [self._uniform[i] for i in index]
        return part

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal numbers of the shape, dtype and device of ``like``."""
        return _fill(self._normal, like)

    def uniform(self, like: Tensor) -> Tensor:
        """Return numbers uniform in [0, 1) of the shape, dtype and device of ``like``."""
        return _fill(self._uniform, like)


def stream_ids(ids: Sequence[int | str] | None, count: int) -> Sequence[int | str]:
    """Return an id for each of ``count`` images: the same for all of them where ``ids`` is None."""
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


def _number(id_: int | str) -> int:
    if isinstance(id_, int):
        return id_
    data = id_.encode("utf-8", "surrogatepass")  # a name may have bytes that are no text
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
