"""Work on every core of a CPU: chains in threads that take turns, and compute networks at once.

One network call of one image does not fill two cores: its layers wait for one another. Several rows
do, each on a core of its own. All else of a chain is done by one thread at a time, with the threads
that it has alone, so that it rounds as it does alone and shares its counters without a lock.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Callback", "aside", "in_turns", "joint_callbacks"]

T = TypeVar("T")
Callback = Callable[[Tensor, float], None]  # takes states, and the share of the work done, 0 to 1


class Stopped(BaseException):
    """Ends a piece of work whose neighbor has failed."""


@dataclass
class _Turns:
    """Whose turn it is, and whether all are to end."""

    lock: Lock = field(default_factory=Lock)
    ended: bool = False


_turns: ContextVar[_Turns | None] = ContextVar("turns", default=None)


@contextmanager
def aside() -> Iterator[None]:
    """Compute on one core in this block, while other pieces of work take their turns.

    What is in the block touches nothing that they share, and its result is the same for any number
    of threads. Outside of `in_turns` nothing changes.
    """
    turns = _turns.get()
    if turns is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    turns.lock.release()
    try:
        yield
    finally:
        turns.lock.acquire()
        torch.set_num_threads(threads)
        if turns.ended:
            raise Stopped


def joint_callbacks(callback: Callback | None, count: int) -> list[Callback | None]:
    """Return a callback for each of so many equal pieces of work that may be under way at once.

    What they tell the given one is the share of all the work.
    """
    if callback is None:
        return [None] * count
    done = [0.0] * count

    def report(i: int, x: Tensor, share: float) -> None:
        done[i] = share
        callback(x, sum(done) / count)

    return [partial(report, i) for i in range(count)]


def in_turns(work: Sequence[Callable[[], T]], at_once: int | None = None) -> list[T]:
    """Return what the pieces of work return, in their order.

    Each runs in a thread, and the threads take turns; only in a block of ``aside`` the next one
    goes on. Where there is one core, or one piece, they run one after the other in this thread, and
    so they do inside of another ``in_turns``, and in torch's inference mode. The first failure ends
    them all.

    Arguments:
        at_once: The most pieces that are under way at a time; by default the number of threads that
            torch computes with.
    """
    count = min(at_once or torch.get_num_threads(), torch.get_num_threads(), len(work))
    if count <= 1 or _turns.get() is not None or torch.is_inference_mode_enabled():
        return [piece() for piece in work]
    turns = _Turns()
    threads = torch.get_num_threads()
    grad = torch.is_grad_enabled()

    def run(piece: Callable[[], T]) -> T:
        _turns.set(turns)
        with turns.lock, torch.set_grad_enabled(grad):
            if turns.ended:
                raise Stopped
            torch.set_num_threads(threads)  # a new thread takes over what another has set last
            try:
                return piece()
            except BaseException:
                turns.ended = True
                raise

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(copy_context().run, run, piece) for piece in work]
        try:
            wait(futures)
        finally:
            turns.ended = True  # an interrupt ends what is still under way
    torch.set_num_threads(threads)
    failed = [error for f in futures if (error := f.exception()) is not None]
    for error in failed:
        if not isinstance(error, Stopped):
            raise error
    return [future.result() for future in futures]
