"""Errors of a command as a person reads them: one sentence on stderr, and an exit code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..validation import shown

__all__ = ["complain", "complaints"]

FAILED, WRONG = 1, 2  # exit codes
LONGEST = 300  # characters of a sentence


@contextmanager
def complaints() -> Iterator[None]:
    """End a command with a sentence: with 2 for what cannot be done as asked, 1 for what failed.

    Errors of the library, and every other ``ValueError``, say what was wrong with the settings or
    the files. An ``OSError`` or a ``RuntimeError`` comes from the machine.
    """
    import typer

    try:
        yield
    except ValueError as error:
        complain(error)
        raise typer.Exit(WRONG) from None
    except (OSError, RuntimeError, MemoryError) as error:
        if isinstance(error, typer.Exit | typer.Abort):
            raise
        complain(error)
        raise typer.Exit(FAILED) from None


def complain(error: object) -> None:
    """Print an error as one line of stderr."""
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"diffprior: {shown(text, LONGEST)}", file=sys.stderr)
