"""What is done at the moment, and how much of it: for whoever shows the progress of a long step.

A callback is called after each step of a chain. On a large image a step takes minutes: its windows
and its solves are told here one by one, and so is what comes before the first step. Nobody is told
anything outside of `each_part`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["begin_step", "each_part", "end_step", "part_done", "phase", "within_step"]

Tell = Callable[[str, int, int], None]  # takes a phase, how many of its parts are done, and of how
MOST = 0.9  # of what is left of a step: nobody knows whether another phase of it follows


class _Step:
    """One step of a chain, whose share rises as its parts are done."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self.report = report
        self.before = 0.0  # share of the phases that are over
        self.share = 0.0

    def part(self, done: int, count: int) -> None:
        """Report the share of the step after a part of a phase."""
        share = self.before + (1 - self.before) * MOST * done / count
        if done == count:
            self.before = share
        self.share = max(self.share, share)  # a phase may begin anew, when memory runs out
        self.report(self.share)


_tell: ContextVar[Tell | None] = ContextVar("tell", default=None)
_step: ContextVar[_Step | None] = ContextVar("step", default=None)


@contextmanager
def each_part(tell: Tell) -> Iterator[None]:
    """Have the parts of long steps told in this block.

    Callbacks are called after each of them, too, with states that are empty, and shares that rise.

    Arguments:
        tell: Takes a phase in a word or two, the number of its parts that are done, and how many
            there are; 0 and 0 for a phase that is not told in parts.
    """
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


def phase(what: str) -> None:
    """Tell that a phase begins, of which no parts are told."""
    if (tell := _tell.get()) is not None:
        tell(what, 0, 0)


def part_done(what: str, done: int, count: int) -> None:
    """Tell that one more part of a phase is done."""
    tell = _tell.get()
    if tell is None or count < 2:
        return
    if (step := _step.get()) is not None:
        step.part(done, count)
    tell(what, done, count)


@contextmanager
def within_step() -> Iterator[None]:
    """Have the steps that begin in this block end with it."""
    outer = _step.get()
    try:
        yield
    finally:
        _step.set(outer)


def end_step() -> None:
    """End the step that was begun last: what is told from now on is part of none."""
    _step.set(None)


def begin_step(report: Callable[[float], None]) -> None:
    """Begin a step; the parts that are told from now on are parts of it.

    Arguments:
        report: Takes the share of the step that is done.
    """
    if _tell.get() is not None:
        _step.set(_Step(report))
