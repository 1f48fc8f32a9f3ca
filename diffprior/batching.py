"""Work on the rows of a batch: so many at a time, each with its noise and its progress."""

import copy
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from .random import Noise

__all__ = ["Callback", "batched", "part_callback", "StepCallback", "step_callback"]

Callback = Callable[[Tensor, float], None]


def batched(
    work: Callable[[Tensor, Noise, Callback | None], Tensor],
    noise: Noise,
    callback: Callback | None,
    size: int,
    *,
    whole: bool = False,
) -> Tensor:
    """Return what some work makes of all rows, so many at a time; where memory runs out, fewer.

    Arguments:
        work: Is given the numbers of some rows, their noise, and their callback.
        noise: The streams of all rows.
        whole: Whether rows that are to run together cannot run apart.
    """
    parts = torch.split(torch.arange(len(noise)), size)
    shares = (part_callback(callback, k, len(parts)) for k in range(len(parts)))
    done = [
        _run_part(work, noise, each, part, whole) for part, each in zip(parts, shares, strict=True)
    ]
    return torch.cat(done)


def _run_part(
    work: Callable[[Tensor, Noise, Callback | None], Tensor],
    noise: Noise,
    callback: Callback | None,
    part: Tensor,
    whole: bool,
) -> Tensor:
    """Return what the work makes of a part; where memory runs out, of half of it at a time."""
    try:  # with a copy of the streams: what has failed has drawn from them
        return work(part, copy.deepcopy(noise.rows(part.tolist())), callback)
    except torch.OutOfMemoryError:
        if len(part) == 1 or whole:
            raise
    first, second = part.tensor_split(2)
    text = f"out of memory: going on with {len(second)} samples at a time"
    warnings.warn(text, RuntimeWarning, stacklevel=5)
    done = [
        _run_part(work, noise, None, first, whole),
        _run_part(work, noise, callback, second, whole),
    ]
    return torch.cat(done)


def part_callback(callback: Callback | None, part: int, parts: int) -> Callback | None:
    """Return the callback of one part of the work."""
    if callback is None:
        return None
    return lambda x, done: callback(x, (part + done) / parts)


StepCallback = Callable[[Tensor, int], Tensor]  # of the states after a step, and its number


def step_callback(callback: Callback | None, steps: int) -> StepCallback:
    """Return what tells a callback of every step of an inversion's way down."""

    def each(x: Tensor, i: int) -> Tensor:
        if callback is not None:
            callback(x, (i + 1) / steps)
        return x

    return each
