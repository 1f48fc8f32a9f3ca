"""One input of a run: read it, call the task, write its results, say what became of it."""

import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..errors import ExtraError, ImageError, PriorError, SettingError
from ..io import animations, atomic, files
from ..phases import each_part, phase
from ..runtime.report import as_json
from ..runtime.signature import TaskFunction
from ..runtime.task import Task
from ..validation import shown
from . import work
from .masks import ImageList, open_setting, read_setting, settings_of
from .outputs import Input, Options, Targets, check_place
from .process import check_signals, describe
from .progress import Bar
from .streams import OutputError, emit_bytes, is_closed

__all__ = [
    "Outcome",
    "Run",
    "limit",
    "open_folders",
    "read_settings",
    "suffixes",
    "threads_of_each",
    "use_threads",
]

Fate = Literal["done", "skipped", "failed", "refused", "no prior"]


class Outcome(NamedTuple):
    """What became of one input.

    Attributes:
        source: The input.
        fate: Whether it was done, or was done before, or failed; "refused" is a setting that cannot
            be used, and "no prior" a prior, without which no other input can be done either.
        error: What went wrong, in one sentence.
        line: The line of JSON about it.
        note: A remark about its result.
        wrote: The files that were written, and in how long, for a person to read.
    """

    source: Input
    fate: Fate
    error: str = ""
    line: str = ""
    note: str = ""
    wrote: str = ""


def threads_of_each(processes: int) -> int:
    """Return how many threads each of several processes has: its share, or what the caller set."""
    threads = torch.get_num_threads()
    return threads if os.environ.get("OMP_NUM_THREADS") else max(1, threads // processes)


def use_threads(count: int) -> None:
    """Compute with so many threads in this process."""
    import cv2

    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def suffixes(task: Task) -> Sequence[str]:
    """Return how files of results may end; the first one is the default."""
    if task.suffix is not None:
        return (task.suffix,)
    return (*files.SUFFIXES, *animations.SUFFIXES) if task.animated else files.SUFFIXES


def limit(o: Options) -> int:
    """Return the most pixels of an image that is read."""
    return files.LIMIT if o.max_pixels is None else o.max_pixels


def open_folders(task: Task, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a task, of which those that are folders of images are opened."""
    plain = {k: str(v) if str(v) in task.keywords else v for k, v in settings.items()}
    return {k: open_setting(v) for k, v in plain.items()}


def read_settings(values: Mapping[str, Any], o: Options) -> dict[str, Any]:
    """Return settings, of which those that are paths are read as images."""
    return {
        k: read_setting(v, limit(o)) if isinstance(v, Path | ImageList) else v
        for k, v in values.items()
    }


@dataclass
class Run:
    """One run of a task over inputs. Whatever goes wrong with an input ends that input alone.

    Attributes:
        function: The function of the task.
        values: Its settings.
        o: The options of the command.
        bar: Where progress is shown.
        written: The files that this run wrote, as the file system knows them.
    """

    function: TaskFunction
    values: Mapping[str, Any]
    o: Options
    bar: Bar
    written: set[tuple[int, int]] = field(default_factory=set)

    def outcome(self, source: Input, targets: Targets) -> Outcome:
        """Run the task on one input, write its results, and return what became of it."""
        try:
            with _prefix_warnings(source):
                return self._finished(source, targets)
        except OutputError:
            raise
        except (PriorError, ExtraError) as error:
            return Outcome(source, "no prior", describe(error))
        except SettingError as error:
            return Outcome(source, "refused", describe(error))
        except Exception as error:
            check_signals()
            return Outcome(source, "failed", describe(error))

    def _finished(self, source: Input, targets: Targets) -> Outcome:
        """Run the task on one input, write its results, and return that it is done."""
        check_place(targets)
        there = [path for path in targets.values() if path and path.exists()]
        if there and not (self.o.force or self.o.skip_existing):
            raise ImageError(
                f"{shown(there[0])} exists; use --force to overwrite it, or --skip-existing"
            )
        left = targets
        if self.o.skip_existing:
            left = {key: path for key, path in targets.items() if path not in there}
        about = self._write_results(source, left).report if left else {"skipped": True}
        outputs = {str(k): str(p) for k, p in targets.items()}
        line = as_json({"input": source and str(source), "outputs": outputs, **about})
        note = str(about.get("note", ""))
        if not left:
            return Outcome(source, "skipped", line=line, note=note)
        return Outcome(source, "done", line=line, note=note, wrote=_written(left, about))

    def _write_results(self, source: Input, targets: Targets) -> Any:
        """Write the results of one input, and return them."""
        name = self.function.__name__ if source is None else str(source)
        with self.bar.of(name, "reading" if source else "preparing", stays=False):
            values = settings_of(self.values, source, limit(self.o))
            file = self._read(source)
            work.check_depth(file, targets)
            self.bar.stage("preparing")
            with each_part(self._part):
                result = work.call(self.function, file, values, self._callback)
                self._write_files(result, file, targets)
        return result

    def _write_files(self, result: Any, file: work.Source | None, targets: Targets) -> None:
        """Write the files of a result."""
        phase("writing")
        for key, path in targets.items():
            suffix = path.suffix.lower() if path else ".png"
            data = work.pieces(key, result, file, suffix, self.o.strip_metadata)
            if path is not None:
                self._write(data, path)
                continue
            for piece in data() if callable(data) else [data]:
                emit_bytes(piece)

    def _read(self, source: Input) -> work.Source | None:
        """Return what an input holds; None where the task reads nothing."""
        if source is None:
            return None
        if source == "-" and is_closed(sys.stdin):
            raise ImageError("standard input is closed")
        place = source if isinstance(source, Path) else sys.stdin.buffer
        return work.read(self.function.task, place, limit(self.o))

    def _callback(self, x: Tensor, share: float) -> None:
        """Show the share of the work that is done."""
        check_signals()
        self.bar.update(share)

    def _part(self, what: str, done: int, count: int) -> None:
        """Show what is done of a large image, of which a step takes minutes."""
        check_signals()
        self.bar.stage(f"{what} {done} of {count}" if count else what)

    def _write(self, data: atomic.Data, path: Path) -> None:
        """Write a file, but not over another one of this run, whatever name it goes by."""
        if path.exists() and _number(path) in self.written:
            raise ImageError(f"{shown(path)} is the result of another input of this run")
        files.write(data, path, self.o.force)
        self.written.add(_number(path))


def _written(targets: Targets, about: Mapping[str, Any]) -> str:
    """Return the names of the files that were written, and how long that took."""
    names = [shown(path) for path in targets.values() if path]
    if len(names) > 3:
        names = [*names[:2], f"{len(names) - 2} more"]
    seconds = f" ({about['seconds']:.0f} s)" if "seconds" in about else ""
    return ", ".join(names or ["standard output"]) + seconds


def _number(path: Path) -> tuple[int, int]:
    """Return what the file system knows a file by."""
    about = path.stat()
    return about.st_dev, about.st_ino


@contextmanager
def _prefix_warnings(source: Input) -> Iterator[None]:
    """Begin each warning with the name of the file that is worked on."""
    name = "" if source is None else f"{shown(source)}: "
    with warnings.catch_warnings():
        show = warnings.showwarning
        warnings.showwarning = lambda message, *rest: show(
            f"{'' if str(message).startswith(name) else name}{message}", *rest
        )
        yield
