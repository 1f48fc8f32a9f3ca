"""One task over many files: read, run, write, report; a failed file does not stop the others."""

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from os.path import abspath
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional

from .. import __version__
from ..errors import PriorError, SettingError
from ..io import animations, arrays, files, numbers
from ..io.arrays import ImageError
from ..runtime.placement import prior_cache
from ..runtime.report import as_json
from .outputs import Input, Options, Targets, heat_map, plan_outputs

__all__ = ["Options", "run"]

Call = Callable[..., Any]
Watch = Callable[[Tensor, float], None]
Source = files.File | numbers.Measurement


@prior_cache()
def run(task: Call, names: Sequence[str] | None, settings: dict[str, Any], o: Options) -> int:
    """Run a task over files; return the exit code: 0, 1 if a file failed, 2 for wrong usage."""
    known = _suffixes(task)
    word = f"{import_module(task.__module__).WORD}{known[0]}"
    try:
        sources, faults = _expand(names)
        plan = plan_outputs(sources, word, known, settings.get("samples", 1), o)
        given = _read_settings(task, settings)
    except ImageError as error:
        return _print_error(error, 1)
    except SettingError as error:
        return _print_error(error, 2)
    code = max((_print_error(fault, 1) for fault in faults), default=0)
    for source, targets in plan.items():
        try:
            with _prefix_warnings(source):
                _one(task, source, given, o, targets)
        except (SettingError, PriorError) as error:
            return _print_error(error, 2)
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            name = "" if source is None or str(error).startswith(str(source)) else f"{source}: "
            code = _print_error(f"{name}{error}", 1)
    return code


def _suffixes(task: Call) -> Sequence[str]:
    """Return how files of a task's results may end; the first is for those that are not named."""
    module = import_module(task.__module__)
    own = getattr(module, "SUFFIX", None)
    return (own,) if own else (*files.SUFFIXES, *getattr(module, "FILMS", ()))


def _expand(names: Sequence[str] | None) -> tuple[Sequence[Input], Sequence[ImageError]]:
    """Return the images to work on, each once, and what is wrong with the names of others."""
    if names is None:
        return [None], []
    found, faults = dict[str, Input](), list[ImageError]()
    for name in names:
        try:
            paths: Sequence[Input] = ["-"] if name == "-" else files.find([name])
            for path in paths:
                found.setdefault(abspath(path) if isinstance(path, Path) else "-", path)
        except ImageError as error:
            faults.append(error)
    return list(found.values()), faults


def _read_settings(task: Call, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a task, with the images among them read."""
    words = getattr(import_module(task.__module__), "KEYWORDS", ())  # said in place of an image
    plain = {k: str(v) if str(v) in words else v for k, v in settings.items()}
    try:
        return {k: files.read_mask(v) if isinstance(v, Path) else v for k, v in plain.items()}
    except ImageError as error:
        raise SettingError(str(error)) from error


def _one(task: Call, source: Input, given: Mapping[str, Any], o: Options, targets: Targets) -> None:
    """Run one file."""
    if not o.force and (there := [t for t in targets.values() if t and t.exists()]):
        raise ImageError(f"{there[0]} exists; use --force to overwrite it")
    file = None if source is None else _read(task, source)
    _check_depth(file, targets)
    with _progress(str(source or task.__name__), o.quiet) as callback:
        result = _call(task, file, given, callback)
    for key, path in targets.items():
        data = _data(key, result, file, path.suffix.lower() if path else ".png")
        if path is None:
            sys.stdout.buffer.write(data)
        else:
            files.write(data, path, o.force)
    if o.json:
        outputs = {str(k): str(p) for k, p in targets.items()}
        print(as_json({"input": source and str(source), "outputs": outputs, **result.report}))
    elif "note" in result.report:
        print(f"{source}: {result.report['note']}", file=sys.stderr)


def _read(task: Call, source: Path | Literal["-"]) -> Source:
    """Return what a file holds: numbers for a task that takes a y, else an image."""
    if sys.stdin is None and source == "-":
        raise ImageError("standard input is closed")
    data = source if isinstance(source, Path) else sys.stdin.buffer
    measured = "y" in inspect.signature(task).parameters
    return numbers.read(data) if measured else files.read(data)


def _check_depth(file: Source | None, targets: Targets) -> None:
    """Refuse files that cannot hold what an image holds, before any work is done."""
    for path in filter(None, targets.values() if isinstance(file, files.File) else ()):
        suffix = path.suffix.lower()
        kind = animations if suffix in animations.SUFFIXES else files
        if isinstance(file, files.File) and suffix in kind.SUFFIXES:
            kind.check_depth(file.images.values.dtype, suffix)


def _call(task: Call, file: Source | None, settings: Mapping[str, Any], callback: Watch) -> Any:
    """Call the task on one file, its values to come back as they are."""
    if file is None:
        return task(**settings, callback=callback)
    known, given = inspect.signature(task).parameters, dict(settings)
    if "ids" in known:
        given["ids"] = [Path(file.name).name]
    if isinstance(file, numbers.Measurement):
        return task(file.array, **given, callback=callback)
    if "coding" in known:
        given["coding"] = file.coding
    raw = replace(file.images, rebuild=lambda values, alpha: (values, alpha))
    return task(raw, **given, callback=callback)


def _data(key: str | int, result: Any, file: Source | None, suffix: str) -> bytes:
    """Return the bytes of one of the files to write."""
    if key == 0 and hasattr(result, "data"):
        data: bytes = result.data()
        return data
    icc = file.icc if isinstance(file, files.File) else None
    several = isinstance(key, int) and len(result.samples) > 1 and suffix not in animations.SUFFIXES
    report = result.report | ({"sample": int(key) + 1} if several else {})
    text = {"Software": f"diffprior {__version__}", "diffprior": as_json(report)}
    if suffix in animations.SUFFIXES:
        frames = [_content(k, result, file)[0] for k in range(len(result.samples))]
        return animations.encode(frames, suffix, text)
    return files.encode(*_content(key, result, file), suffix, icc, text)


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
    """Return what came in, the mask if there was one, and what came out, side by side."""
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
    """Have what is warned of while a file is worked on begin with its name."""
    name = "" if source is None else f"{source}: "
    with warnings.catch_warnings():
        say = warnings.showwarning
        warnings.showwarning = lambda message, *rest: say(f"{name}{message}", *rest)
        yield


@contextmanager
def _progress(name: str, quiet: bool) -> Iterator[Watch]:
    """Show a bar with the time left, where there is a terminal to show it on."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        bar = progress.add_task(name, total=1.0)
        yield lambda x, done: progress.update(bar, completed=done)


def _print_error(error: object, code: int) -> int:
    print(f"diffprior: {' '.join(str(error).split())}", file=sys.stderr)
    return code
