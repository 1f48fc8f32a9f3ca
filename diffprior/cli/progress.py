"""The progress bar of a run, which stands from its first second to its last one.

This module imports nothing that computes: the bar shows while that is imported, too.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..validation import shown
from .streams import MOST

__all__ = ["Bar"]

LONGEST = 40  # characters of a name


class Bar:
    """The progress of a run, with what is done at the moment and the time that is left.

    Nothing is shown where no terminal can show it.

    Arguments:
        quiet: Whether nothing is shown at all.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._is_shown = not quiet and sys.stderr.isatty()
        self._progress: Any = None  # of rich, while the bar is on the terminal
        self._task: Any = None

    @contextmanager
    def run(self) -> Iterator[None]:
        """Show the start of a run until its first file, and nothing at its end."""
        self._show("diffprior", "starting")
        try:
            yield
        finally:
            self.clear()

    @contextmanager
    def of(self, name: str, stage: str, *, stays: bool = True) -> Iterator[None]:
        """Show the progress of one file.

        Arguments:
            name: What is worked on.
            stage: What is done at first.
            stays: Whether the line stays where all went well.
        """
        self._show(shown(name, LONGEST), stage)
        done = False
        try:
            yield
            done = True
        finally:
            self._hide(keep=done and stays)

    def leave(self, text: str) -> None:
        """Leave a line on the terminal, where the bar would be shown."""
        if self._is_shown:
            with self.aside(), suppress(OSError, ValueError):  # nobody is left to be told
                print(shown(text, MOST), file=sys.stderr, flush=True)

    def stage(self, text: str) -> None:
        """Say what is done at the moment."""
        if self._progress is not None:
            self._progress.update(self._task, stage=text, refresh=True)

    def update(self, share: float) -> None:
        """Show the share of the work that is done, in [0, 1]."""
        if self._progress is not None:
            self._progress.update(self._task, total=1.0, completed=share, stage="")

    def clear(self) -> None:
        """Take the bar off the terminal, for lines of standard output."""
        self._hide(keep=False)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar off the terminal for lines of others, and show it again after them."""
        progress = self._progress
        if progress is None:
            yield
            return
        progress.live.transient = True
        progress.stop()
        try:
            yield
        finally:
            progress.start()

    def _show(self, name: str, stage: str) -> None:
        if not self._is_shown:
            return
        if self._progress is None:
            self._progress = _progress()
            self._progress.start()
            self._task = self._progress.add_task(name, total=None, stage=stage)
        else:
            self._progress.update(self._task, description=name, stage=stage, refresh=True)

    def _hide(self, keep: bool) -> None:
        if self._progress is None:
            return
        self._progress.update(self._task, stage="")
        self._progress.live.transient = not keep
        self._progress.stop()
        self._progress = None


def _progress() -> Any:
    """Return the columns of a bar, before it is shown."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[stage]}", markup=False),
        console=console,
        disable=not console.is_terminal,
        redirect_stdout=False,  # which an image may be written to
    )
