"""Work on the rows of a batch: so many at a time, each with its noise and its progress."""

import copy
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from .random import Noise

__all__ = ["Watch", "batched", "share", "Change", "told"]

Watch = Callable[[Tensor, float], None]


def batched(
    work: Callable[[Tensor, Noise, Watch | None], Tensor],
    noise: Noise,
    watch: Watch | None,
    size: int,
    *,
    whole: bool = False,
) -> Tensor:
    """Return what some work makes of all rows, so many at a time; where memory runs out, fewer.

    Arguments:
        work: Is given the numbers of some rows, their noise, and their watch.
        noise: The streams of all rows.
        whole: Whether rows that are to run together cannot run apart.
    """
    parts = torch.split(torch.arange(len(noise)), size)
    shares = (share(watch, k, len(parts)) for k in range(len(parts)))
    done = [
        _fitted(work, noise, each, part, whole) for part, each in zip(parts, shares, strict=True)
    ]
    return torch.cat(done)


def _fitted(
    work: Callable[[Tensor, Noise, Watch | None], Tensor],
    noise: Noise,
    watch: Watch | None,
    part: Tensor,
    whole: bool,
) -> Tensor:
    """Return what the work makes of a part; where memory runs out, of half of it at a time."""
    try:  # with a copy of the streams: what has failed has drawn from them
        return work(part, copy.deepcopy(noise.rows(part.tolist())), watch)
    except torch.OutOfMemoryError:
        if len(part) == 1 or whole:
            raise
    first, second = part.tensor_split(2)
    text = f"out of memory: going on with {len(second)} samples at a time"
    warnings.warn(text, RuntimeWarning, stacklevel=5)
    done = [_fitted(work, noise, None, first, whole), _fitted(work, noise, watch, second, whole)]
    return torch.cat(done)


def share(watch: Watch | None, part: int, parts: int) -> Watch | None:
    """Return the watch of one part of the work."""
    if watch is None:
        return None
    return lambda x, done: watch(x, (part + done) / parts)


Change = Callable[[Tensor, int], Tensor]  # of the states after a step, and its number


def told(watch: Watch | None, steps: int) -> Change:
    """Return what tells a watch of every step of an inversion's way down."""

    def each(x: Tensor, i: int) -> Tensor:
        if watch is not None:
            watch(x, (i + 1) / steps)
        return x

    return each
