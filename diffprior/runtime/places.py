"""Where in an image work is going on, for a callback that shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .problem import Window

__all__ = ["corner", "placed"]

_corner: ContextVar[tuple[int, int]] = ContextVar("corner", default=(0, 0))


@contextmanager
def placed(window: Window | None) -> Iterator[None]:
    """Say that what goes on in this block is about a window, which lies in that of the block round.

    Arguments:
        window: The window; None is all.
    """
    if window is None:
        yield
        return
    top, left = _corner.get()
    token = _corner.set((top + window.rows.start, left + window.columns.start))
    try:
        yield
    finally:
        _corner.reset(token)


def corner() -> tuple[int, int]:
    """Return the row and the column of the image at which the states of a callback begin.

    It is asked inside of a callback. The states of a task that works on a part of an image, such as
    the surroundings of a hole, have the size of that part.
    """
    return _corner.get()
