"""One task over many files: read, run, write, report. A failed file does not stop the others."""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .. import __version__
from ..batching import Callback
from ..errors import ImageError, PriorError, SettingError
from ..io import animations, arrays, files, numbers
from ..runtime.placement import prior_cache
from ..runtime.report import as_json
from ..runtime.settings import check_counts
from ..runtime.signature import TaskFunction
from ..runtime.task import Task
from ..validation import shown, warn
from .inputs import expand
from .masks import ImageList, open_setting, read_setting, settings_of, unused, without_masks
from .outputs import Input, Options, Targets, check_place, heat_map, plan_outputs
from .process import check_signals, describe
from .progress import Bar
from .streams import OutputError, emit, emit_bytes, is_closed, say

__all__ = ["Options", "run"]

Source = files.File | numbers.Measurement


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
            file = None if source is None else _read(self.function.task, source, _limit(self.o))
            _check_depth(file, targets)
            self.bar.stage("preparing")
            result = _call(self.function, file, values, self._callback)
            self.bar.stage("writing")
            for key, path in targets.items():
                suffix = path.suffix.lower() if path else ".png"
                data = _data(key, result, file, suffix, self.o.strip_metadata)
                if path is None:
                    emit_bytes(data)
                else:
                    self._write(data, path)
        return result

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


def _read(task: Task, source: Path | Literal["-"], limit: int) -> Source:
    """Return what a file holds: numbers, or an image."""
    if is_closed(sys.stdin) and source == "-":
        raise ImageError("standard input is closed")
    data = source if isinstance(source, Path) else sys.stdin.buffer
    return numbers.read(data) if task.input == "numbers" else files.read(data, limit)


def _check_depth(file: Source | None, targets: Targets) -> None:
    """Check, before any work, that the files to write can hold the depth of the image."""
    if not isinstance(file, files.File):
        return
    for path in filter(None, targets.values()):
        suffix = path.suffix.lower()
        kind = animations if suffix in animations.SUFFIXES else files
        if suffix in kind.SUFFIXES:
            kind.check_depth(file.images.values.dtype, suffix)


def _call(
    function: TaskFunction, file: Source | None, values: Mapping[str, Any], callback: Callback
) -> Any:
    """Call the task on one file; the images of its result are values and alpha."""
    if file is None:
        return function(**values, callback=callback)
    task = function.task
    settings = dict(values)
    if task.ids:
        settings["ids"] = [Path(file.name).name]
    if isinstance(file, numbers.Measurement):
        return function(file.array, **settings, callback=callback)
    if task.jpeg_coding:
        if file.uncoded and values.get("quality") is None:
            raise ImageError(f"{file.uncoded}; give a quality")
        settings["coding"] = file.coding
    raw = replace(file.images, rebuild=lambda values, alpha: (values, alpha))
    return function(raw, **settings, callback=callback)


def _data(key: str | int, result: Any, file: Source | None, suffix: str, strip: bool) -> bytes:
    """Return the bytes of one of the files to write.

    A result has the metadata of the file that it was made from; without them it keeps what says how
    its numbers become colors.
    """
    if key == 0 and hasattr(result, "data"):
        data: bytes = result.data()
        return data
    about = file.metadata if isinstance(file, files.File) and key != "uncertainty" else None
    if about is not None and (strip or key == "compare"):
        about = about.colors()
    several = isinstance(key, int) and len(result.samples) > 1 and suffix not in animations.SUFFIXES
    report = result.report | ({"sample": int(key) + 1} if several else {})
    text = {"Software": f"diffprior {__version__}", "diffprior": as_json(report)}
    text = {} if strip else text
    if suffix in animations.SUFFIXES:
        frames = [_content(k, result, file) for k in range(len(result.samples))]
        if any(alpha is not None and alpha.min() < 255 for _, alpha in frames):
            warn(f"{suffix} animations hold no alpha (transparency); dropped")
        return animations.encode([values for values, _ in frames], suffix, text)
    return files.encode(*_content(key, result, file), suffix, about, text)


def _content(
    key: str | int, result: Any, file: Source | None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Return values ``(H, W, C)`` and alpha ``(H, W)`` of one of the images to write."""
    if key == "uncertainty":
        std = torch.as_tensor(np.asarray(result.std))
        return np.asarray(heat_map(std if std.ndim == 2 else std.mean(-1))), None
    if key == "compare":
        return _side_by_side(result, file), None
    image = result.samples[key]
    if not isinstance(image, tuple):
        return np.asarray(image), None
    values, alpha = image
    return values[0], None if alpha is None else alpha[0]


def _side_by_side(result: Any, file: Source | None) -> np.ndarray[Any, Any]:
    """Return the input, the mask if there was one, and the result, side by side."""
    assert isinstance(file, files.File)
    values, _ = result.image
    after = replace(file.images, values=values, alpha=None).tensor()
    before = functional.interpolate(file.images.tensor(), after.shape[-2:])
    panels = [before, after]
    if not bool((result.cover == 1).all()):
        panels.insert(1, (2 * result.cover - 1).expand_as(after))
    return np.concatenate([np.asarray(arrays.to_pil(p[0])) for p in panels], 1)


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
