"""The process of the command line: how it ends, whatever ends it."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from ..errors import DiffpriorError
from ..validation import shown
from . import streams

__all__ = ["DEBUG", "check_signals", "describe", "run"]

DEBUG = "DIFFPRIOR_DEBUG"  # the environment variable that shows where an error came from
SIGNALS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}
NO_MEMORY = (  # as libraries of C++ put it
    *("alloc_cpu", "allocate memory", "bad alloc", "bad_alloc"),
    *("insufficient memory", "not enough memory", "out of memory"),
)

_received: list[int] = []  # signals; a library may catch the exception of one and go on


def run(work: Callable[[], int]) -> NoReturn:
    """Do the work of a process, and exit with its code.

    Whatever ends the work is one line on standard error. The codes are those of ``work``; 1 for an
    error that it did not expect; 130 for an interrupt (Ctrl-C), and 128 and its number for another
    signal.
    """
    streams.repair()
    _listen()
    code = _ending(work)
    try:
        streams.close()
    except streams.OutputError as error:
        code = _report(error) if code == 0 else code
    sys.exit(code)


def check_signals() -> None:
    """Raise again what a signal raised, where a library caught it and went on.

    Raises:
        SystemExit: If a signal came.
    """
    if _received:
        raise SystemExit(128 + _received[0])


def describe(error: BaseException) -> str:
    """Return one sentence about an error, and print where it came from if that is wanted."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    text = str(error)
    if isinstance(error, MemoryError) or _is_about_memory(error, text):
        return "there is not enough memory; try a smaller image, --tile or fewer samples"
    if isinstance(error, DiffpriorError):
        return text
    if isinstance(error, OSError) and error.strerror:
        name = f"{shown(error.filename)}: " if error.filename else ""
        return f"{name}{error.strerror}"
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError) and text:
        return text
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"an unexpected error, {what} ({DEBUG}=1 shows where)"


def _is_about_memory(error: BaseException, text: str) -> bool:
    """Return whether a library of C++ ran out of memory: torch and OpenCV have no one error."""
    kind = isinstance(error, RuntimeError | OSError) or type(error).__module__ == "cv2"
    return kind and any(words in text.lower() for words in NO_MEMORY)


def _listen() -> None:
    """Let the signals that end a process end it by an exception, so that all is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) in (signal.SIG_IGN, None):
            continue  # as nohup and background jobs have it
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _ending(work: Callable[[], int]) -> int:
    """Return the exit code of the work, and say what ended it."""
    try:
        code = work()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = 130 if _received else _report(error)
    if _received:
        code = 128 + _received[0]
        streams.say(SIGNALS[signal.Signals(_received[0]).name])
    elif code == 130:
        streams.say(SIGNALS["SIGINT"])
    return code


def _report(error: Exception) -> int:
    """Say what an error is, and return 1."""
    if isinstance(error, streams.OutputError):
        if str(error):
            streams.say(error)
    else:
        streams.say(describe(error))
    return 1
