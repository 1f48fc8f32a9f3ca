"""One stream of random numbers per sample, the same whatever else is in the batch.

A stream is a function of the seed, the id of the image and the number of the sample. Streams are
numpy's Philox generators, whose normal numbers are drawn by rejection: a GPU cannot draw the same
ones. They are drawn on the CPU and then moved, so that every device gets the same numbers, to the
last bit. For eight states of 512 x 512 pixels a draw takes about 45 ms of one core. On a GPU nobody
waits for it: the numbers of the next step are drawn in other threads while the GPU computes this
one, into memory that it copies from on its own.
"""

import copy
import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from .errors import SettingError

__all__ = ["Noise", "stream_ids"]

BLOCK = 1024  # numbers drawn at a time by a stream of small states
THREADS = 8  # that draw ahead, at most
PINNED = ("cuda", "xpu")  # devices that copy on their own from memory that stays in its place


class _Stream:
    """Numbers in one fixed order, however many are drawn at a time, and ahead or not."""

    def __init__(self, entropy: Sequence[int], uniform: bool) -> None:
        self.entropy = entropy
        self.uniform = uniform
        self.rng: np.random.Generator | None = None
        self._hold(torch.empty(0))
        self.coming: Future[Tensor] | None = None  # what follows it

    def take(self, count: int) -> Tensor:
        """Return the next numbers, of shape ``(count,)``."""
        at = self._pass(count)
        return self.drawn[at : at + count]

    def take_array(self, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Return them as an array, which is quicker where there are many streams."""
        at = self._pass(count)
        return self.values[at : at + count]

    def draw_ahead(self, count: int, pinned: bool) -> None:
        """Begin to draw what a call of ``take`` will return, in another thread.

        Arguments:
            pinned: Whether the numbers lie where a GPU copies them from on its own.
        """
        if self.coming is None and (missing := self.at + count - len(self.drawn)) > 0:
            room = torch.empty(missing, pin_memory=pinned)
            self.coming = _threads().submit(self._fill, room)

    def fill(self, out: Tensor) -> None:
        """Put the next numbers, those that ``take`` would return, into a tensor ``(count,)``."""
        self._settle()
        held = self.drawn[self.at : self.at + len(out)]
        out[: len(held)] = held
        self.at += len(held)
        if len(held) < len(out):
            self._hold(torch.empty(0))
            self._fill(out[len(held) :])

    def _pass(self, count: int) -> int:
        """Return where the next numbers begin in what is drawn; they count as taken."""
        self._settle()
        if (missing := self.at + count - len(self.values)) > 0:
            self._append(self._fill(torch.empty(max(missing, BLOCK))))
        self.at += count
        return self.at - count

    def _fill(self, out: Tensor) -> Tensor:
        """Fill a tensor with the numbers that follow the last ones drawn."""
        if self.rng is None:
            self.rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(self.entropy)))
        draw = self.rng.random if self.uniform else self.rng.standard_normal
        draw(dtype=np.float32, out=out.numpy())
        return out

    def _settle(self) -> None:
        """Wait for the numbers that are drawn ahead."""
        if self.coming is not None:
            self._append(self.coming.result())
            self.coming = None

    def _append(self, more: Tensor) -> None:
        left = self.drawn[self.at :]
        self._hold(torch.cat([left, more]) if len(left) else more)

    def _hold(self, drawn: Tensor) -> None:
        self.drawn = drawn  # never written to
        self.values = drawn.numpy()
        self.at = 0  # where what is not yet taken begins

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        self._settle()
        other = type(self)(self.entropy, self.uniform)
        other.rng = copy.deepcopy(self.rng)
        other._hold(self.drawn[self.at :])
        return other


@lru_cache(1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1), "noise")


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
    count = like[0].numel()
    if like.device.type == "cpu" and count > BLOCK:  # drawn in place, and not held beside it
        rows = torch.empty(len(streams), count)
        for stream, row in zip(streams, rows, strict=True):
            stream.fill(row)
        return rows.reshape(like.shape).to(like)
    if like.device.type == "cpu":
        draws = np.concatenate([stream.take_array(count) for stream in streams])
        return torch.from_numpy(draws).reshape(like.shape).to(like)
    out = torch.empty(len(streams), count, device=like.device)
    for row, stream in zip(out.unbind(), streams, strict=True):
        row.copy_(stream.take(count), non_blocking=True)
    if count >= BLOCK:
        for stream in streams:
            stream.draw_ahead(count, like.device.type in PINNED)
    return out.reshape(like.shape).to(like.dtype)


def _number(id_: int | str) -> int:
    if isinstance(id_, int):
        return id_
    data = id_.encode("utf-8", "surrogatepass")  # a name may have bytes that are no text
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
