"""Warnings of the library, each for the work that it belongs to.

The filters of Python's warnings belong to the process, and blocks that change them in two threads
at once restore the wrong ones. So only one thread decodes an image at a time, and the filters are
set anew before each job.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["DECODING", "collected", "routed"]

DECODING = threading.RLock()  # held while an image is decoded: Pillow's limit is a global, too

_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


@contextmanager
def routed() -> Iterator[None]:
    """Send warnings to the block of `collected` that they come from, while this context is open."""
    with warnings.catch_warnings():
        _route()
        yield


@contextmanager
def collected() -> Iterator[list[str]]:
    """Yield the list that the warnings of this block go to, each text once."""
    _route()
    notes: list[str] = []
    token = _heard.set(notes)
    try:
        yield notes
    finally:
        _heard.reset(token)


def _route() -> None:
    warnings.simplefilter("always")
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", PendingDeprecationWarning)
    warnings.simplefilter("ignore", ResourceWarning)
    warnings.showwarning = _show


def _show(message: Warning | str, *_: Any, **__: Any) -> None:
    notes = _heard.get()
    text = " ".join(str(message).split())
    if notes is not None and text not in notes:
        notes.append(text)
