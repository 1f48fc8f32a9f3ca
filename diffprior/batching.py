"""Run work over the rows of a batch, a few at a time, and report progress to a callback."""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from .bands import is_large, let_go, stored
from .phases import begin_step, end_step, within_step
from .random import Noise
from .schedules import pairs
from .turns import Callback, in_turns, joint_callbacks
from .validation import warn

__all__ = [
    "Callback",
    "Report",
    "StepCallback",
    "batched",
    "chain",
    "each_row",
    "part_callback",
    "progress",
    "row_by_row",
    "silent",
    "step_callback",
]

Report = Callable[[Tensor], None]  # takes the states after a step
StepCallback = Callable[[Tensor, int], Tensor]  # takes states and step number, returns states
T = TypeVar("T")


def silent(x: Tensor, share: float) -> None:
    """A callback that does nothing."""


def progress(items: Sequence[T], callback: Callback | None) -> Iterator[tuple[T, Report]]:
    """Yield each item with a function that reports the states after it.

    Example:
        >>> import torch
        >>> x = torch.zeros(1)
        >>> for step, report in progress(range(4), lambda x, share: print(share)):
        ...     report(x)
        0.25
        0.5
        0.75
        1.0
    """
    if callback is None or callback is silent:
        for item in items:
            yield item, partial(_report, silent, 1.0)
        return
    with within_step():
        for i, item in enumerate(items):
            begin_step(partial(_report_part, callback, i, len(items)))
            yield item, partial(_report, callback, (i + 1) / len(items))


def chain(
    times: Tensor, callback: Callback | None = None
) -> Iterator[tuple[Tensor, Tensor, Report]]:
    """Yield t, the next time s and a function that reports the states after the step.

    Arguments:
        times: A grid of times, of shape ``(steps + 1,)``.
    """
    for (t, s), report in progress(list(pairs(times)), callback):
        yield t, s, report


def _report(callback: Callback, share: float, x: Tensor) -> None:
    callback(x, share)


def _report_part(callback: Callback, done: int, count: int, share: float) -> None:
    """Report the share of a step, of which so many are done; its states are not there yet."""
    callback(torch.empty(0), (done + share) / count)


def batched(
    work: Callable[[Tensor, Noise, Callback], Tensor],
    noise: Noise,
    callback: Callback | None,
    size: int,
    *,
    of: int | None = None,
    whole: bool = False,
    at_once: int = 1,
) -> Tensor:
    """Return the results of all rows, computed ``size`` rows at a time.

    Where memory runs out, the rows of that part are halved, with a warning.

    Arguments:
        work: Takes the numbers of some rows, their noise and their callback; returns their results.
        noise: The streams of all rows.
        size: The most rows at a time.
        of: Rows of one image; none of another run together with them. None is all rows.
        whole: Whether rows that run together cannot be split when memory runs out.
        at_once: Parts that are under way at a time, each on a core of its own.
    """
    images = torch.split(torch.arange(len(noise)), of or len(noise))
    parts = [part for image in images for part in torch.split(image, size)]
    callbacks = joint_callbacks(callback, len(parts))
    results = _Results(len(noise))
    pieces = [
        partial(results.add, part, partial(_run_part, work, noise, told or silent, part, whole))
        for told, part in zip(callbacks, parts, strict=True)
    ]
    in_turns(pieces, at_once)
    return results.joined()


class _Results:
    """The results of parts of a batch; those of large images are put in their place at once.

    Arguments:
        count: The rows of the batch.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.parts: dict[int, Tensor] = {}  # by their first row
        self.large: Tensor | None = None

    def add(self, rows: Tensor, work: Callable[[], Tensor]) -> None:
        """Hold the results of some rows, which follow one another."""
        x = work()
        start = int(rows[0])
        if len(rows) == self.count or not is_large(x):
            self.parts[start] = x
            return
        if self.large is None:
            self.large = stored((self.count, *x.shape[1:]), x)
        self.large[start : start + len(rows)] = x
        let_go(self.large)

    def joined(self) -> Tensor:
        """Return the results of all rows."""
        if self.large is not None:
            return self.large
        parts = [self.parts[start] for start in sorted(self.parts)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _run_part(
    work: Callable[[Tensor, Noise, Callback], Tensor],
    noise: Noise,
    callback: Callback,
    part: Tensor,
    whole: bool,
) -> Tensor:
    """Return the results of the rows ``part``; where memory runs out, of half of them at a time."""
    try:  # on a copy of the streams, as a failed try has drawn from them
        return work(part, copy.deepcopy(noise.rows(part.tolist())), callback)
    except torch.OutOfMemoryError:
        if len(part) == 1 or whole:
            raise
    first, second = part.tensor_split(2)
    warn(f"out of memory: going on with {len(second)} samples at a time", RuntimeWarning)
    results = [
        _run_part(work, noise, silent, first, whole),
        _run_part(work, noise, callback, second, whole),
    ]
    return torch.cat(results)


def row_by_row(function: Callable[..., Tensor], *batches: Tensor) -> Tensor:
    """Return what a function makes of the rows of batches, which it gets one at a time on a CPU.

    On a CPU, layers of networks, products of matrices and even powers round by the number of rows
    and by the place of a row among them. Row by row, a result does not depend on the rest of the
    batch. Elsewhere the function gets all rows at once.

    Arguments:
        function: Takes one tensor ``(b, *)`` of each batch, and returns a tensor ``(b, *)``.
        batches: Tensors of as many rows.
    """
    if batches[0].device.type != "cpu" or len(batches[0]) == 1:
        return function(*batches)
    return each_row(function, *batches)


def each_row(function: Callable[..., Tensor], *batches: Tensor) -> Tensor:
    """Return what a function makes of the rows of batches, which it gets one at a time.

    Arguments:
        function: Takes one tensor ``(1, *)`` of each batch, and returns a tensor ``(1, *)``.
        batches: Tensors of as many rows.
    """
    rows = zip(*(torch.split(batch, 1) for batch in batches), strict=True)
    return torch.cat([function(*row) for row in rows])


def part_callback(callback: Callback | None, part: int, parts: int) -> Callback:
    """Return the callback of part number ``part``, from 0 on, of work in equal parts."""
    if callback is None:
        return silent
    return lambda x, share: callback(x, (part + share) / parts)


def step_callback(callback: Callback | None, steps: int) -> StepCallback:
    """Return a function of states and step number that reports a step and returns the states."""
    notify = callback or silent
    begin_step(partial(_report_part, notify, 0, steps))

    def after_step(x: Tensor, i: int) -> Tensor:
        notify(x, (i + 1) / steps)
        if i + 1 < steps:
            begin_step(partial(_report_part, notify, i + 1, steps))
        else:
            end_step()
        return x

    return after_step
