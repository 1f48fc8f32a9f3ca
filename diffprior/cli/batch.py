"""One task over many files: read, run, write, report. A failed file does not stop the others."""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ImageError, PriorError, SettingError
from ..io import animations, files
from ..runtime.placement import prior_cache
from ..runtime.report import as_json
from ..runtime.settings import check_counts
from ..runtime.signature import TaskFunction
from ..runtime.task import Task
from ..validation import shown
from . import work
from .inputs import expand
from .masks import ImageList, open_setting, read_setting, settings_of, unused, without_masks
from .outputs import Input, Options, Targets, check_place, plan_outputs
from .process import check_signals, describe
from .progress import Bar
from .streams import OutputError, emit, emit_bytes, is_closed, say

__all__ = ["Options", "run"]


@prior_cache()
def run(
    function: TaskFunction,
    names: Sequence[str] | None,
    settings: dict[str, Any],
    o: Options,
    bar: Bar | None = None,
) -> int:
    """Run a task over files. Whatever goes wrong with a file ends that file alone.

    Arguments:
        function: The function of the task.
        names: Files, folders, patterns, or "-"; None for a task that reads nothing.
        settings: The settings of the task. Those that are paths are read as images.
        o: The options that all commands share.
        bar: Where progress is shown; a new one by default.

    Returns:
        The exit code: 0, 1 if a file failed, 2 for wrong usage, where nothing was done.
    """
    task = function.task
    suffixes = _suffixes(task)
    try:
        samples = settings.get("samples", 1)
        check_counts(samples, settings.get("steps"))  # before any name is laid out
        found = expand(names)
        values = _open_folders(task, settings)
        inputs = without_masks(values, found.inputs)
        plan = plan_outputs(inputs, f"{task.past}{suffixes[0]}", suffixes, samples, o)
        values = {k: _read_setting(v, _limit(o)) for k, v in values.items()}
    except SettingError as error:
        return _fail(error, 2)
    except Exception as error:
        check_signals()
        return _fail(error, 1)
    for note in (*found.notes, *plan.notes, *unused(values, inputs)):
        say(note)
    code = max((_fail(fault, 1) for fault in (*found.faults, *plan.faults)), default=0)
    return _run_all(_Run(function, values, o, bar or Bar(o.quiet)), plan.targets, code)


def _run_all(session: "_Run", plan: Mapping[Input, Targets], code: int) -> int:
    """Run the task on all files, and return the exit code."""
    refusals: set[str] = set()  # each is said once, as it is about all files most often
    done = 0
    for source, targets in plan.items():
        try:
            with _prefix_warnings(source):
                session.run_one(source, targets)
            done += 1
        except OutputError:
            raise
        except PriorError as error:
            return _fail(error, 2)
        except SettingError as error:
            if str(error) not in refusals:
                _fail(error, 2)
            refusals.add(str(error))
        except Exception as error:
            check_signals()
            code = _fail(error, 1, source)
    if session.skipped:
        files_are = "file is" if session.skipped == 1 else "files are"
        say(f"{session.skipped} {files_are} done already")
    if refusals:
        return 1 if done else 2
    return code


def _suffixes(task: Task) -> Sequence[str]:
    """Return how files of results may end; the first one is the default."""
    if task.suffix is not None:
        return (task.suffix,)
    return (*files.SUFFIXES, *animations.SUFFIXES) if task.animated else files.SUFFIXES


def _limit(o: Options) -> int:
    """Return the most pixels of an image that is read."""
    return files.LIMIT if o.max_pixels is None else o.max_pixels


def _open_folders(task: Task, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a task, of which those that are folders of images are opened."""
    plain = {k: str(v) if str(v) in task.keywords else v for k, v in settings.items()}
    return {k: open_setting(v) for k, v in plain.items()}


def _read_setting(value: Any, limit: int) -> Any:
    """Return a setting; an image is read from its path."""
    return read_setting(value, limit) if isinstance(value, Path | ImageList) else value


@dataclass
class _Run:
    """One run of a task over files.

    Attributes:
        function: The function of the task.
        values: Its settings.
        o: The options of the command.
        bar: Where progress is shown.
        skipped: The number of files that were done before this run.
        written: The files that this run wrote, as the file system knows them.
    """

    function: TaskFunction
    values: Mapping[str, Any]
    o: Options
    bar: Bar
    skipped: int = 0
    written: set[tuple[int, int]] = field(default_factory=set)

    def run_one(self, source: Input, targets: Targets) -> None:
        """Run the task on one file, and write its results."""
        check_place(targets)
        there = [path for path in targets.values() if path and path.exists()]
        if there and not (self.o.force or self.o.skip_existing):
            raise ImageError(
                f"{shown(there[0])} exists; use --force to overwrite it, or --skip-existing"
            )
        left = targets
        if self.o.skip_existing:
            left = {key: path for key, path in targets.items() if path not in there}
        note = {"skipped": True}
        if left:
            result = self._write_results(source, left)
            note = result.report
        else:
            self.skipped += 1
        self.bar.clear()
        if self.o.json:
            outputs = {str(k): str(p) for k, p in targets.items()}
            emit(as_json({"input": source and str(source), "outputs": outputs, **note}))
        elif "note" in note:
            say(f"{shown(source)}: {note['note']}")

    def _write_results(self, source: Input, targets: Targets) -> Any:
        """Write the results of one file, and return them."""
        name = self.function.__name__ if source is None else str(source)
        with self.bar.of(name, "reading" if source else "preparing"):
            values = settings_of(self.values, source, _limit(self.o))
            file = self._read(source)
            work.check_depth(file, targets)
            self.bar.stage("preparing")
            result = work.call(self.function, file, values, self._callback)
            self.bar.stage("writing")
            for key, path in targets.items():
                suffix = path.suffix.lower() if path else ".png"
                data = work.data(key, result, file, suffix, self.o.strip_metadata)
                if path is None:
                    emit_bytes(data)
                else:
                    self._write(data, path)
        return result

    def _read(self, source: Input) -> work.Source | None:
        """Return what an input holds; None where the task reads nothing."""
        if source is None:
            return None
        if source == "-" and is_closed(sys.stdin):
            raise ImageError("standard input is closed")
        place = source if isinstance(source, Path) else sys.stdin.buffer
        return work.read(self.function.task, place, _limit(self.o))

    def _callback(self, x: Tensor, share: float) -> None:
        """Show the share of the work that is done."""
        check_signals()
        self.bar.update(share)

    def _write(self, data: bytes, path: Path) -> None:
        """Write a file, but not over another one of this run, whatever name it goes by."""
        if path.exists() and _number(path) in self.written:
            raise ImageError(f"{shown(path)} is the result of another input of this run")
        files.write(data, path, self.o.force)
        self.written.add(_number(path))


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


def _fail(error: Exception, code: int, source: Input = None) -> int:
    """Say what went wrong, with the file if there is one, and return the exit code."""
    text = describe(error)
    known = source is None or text.startswith((str(source), shown(source)))
    say(text if known else f"{shown(source)}: {text}")
    return code
