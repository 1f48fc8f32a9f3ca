"""The three standard streams: open whatever the caller closed, and safe to write to."""

import io
import os
import sys
from contextlib import suppress
from typing import IO, Any

from ..validation import shown

__all__ = ["MOST", "OutputError", "close", "emit", "emit_bytes", "is_closed", "repair", "say"]

MOST = 300  # characters of a message


class OutputError(Exception):
    """Standard output cannot be written; the message is one sentence, empty for a closed pipe."""


class _Closed(io.TextIOBase):
    """Standard output that the caller closed: nothing can be written to it."""

    def write(self, text: str) -> int:
        raise OutputError("standard output is closed")


def repair() -> None:
    """Open the standard streams that the caller closed, before anything else opens a file.

    The system gives the lowest free number to the next file that is opened. Without this, a file
    of ours could get the number of standard error, and messages would be written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # gets this number
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may have bytes that are no text
            stream.reconfigure(errors="backslashreplace")


def is_closed(stream: IO[Any] | None) -> bool:
    """Return whether the caller closed this stream."""
    return stream is None or isinstance(stream, _Closed)


def say(message: object) -> None:
    """Print one line on standard error: short, and safe for a terminal."""
    text = shown(" ".join(str(message).split()), MOST)
    with suppress(OSError, ValueError):  # nobody is left to be told
        print(f"diffprior: {text}", file=sys.stderr, flush=True)


def emit(text: str = "") -> None:
    """Print a line on standard output.

    Raises:
        OutputError: If that cannot be written.
    """
    try:
        print(text, flush=True)
    except (OSError, ValueError) as error:
        raise _output_error(error) from error


def emit_bytes(data: bytes) -> None:
    """Write bytes to standard output; errors as of ``emit``."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except (OSError, ValueError) as error:
        raise _output_error(error) from error


def close() -> None:
    """Flush standard output, so that the end of the process has nothing left to fail at.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        if not is_closed(sys.stdout):
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):  # what is left in the buffer goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _output_error(error) from error


def _output_error(error: Exception) -> OutputError:
    if isinstance(error, BrokenPipeError):  # the reader has what it wanted
        return OutputError("")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return OutputError(f"standard output cannot be written: {reason}")
