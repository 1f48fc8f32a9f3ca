"""One task over many files: read, run, write, report; a failed file does not stop the others."""

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional

from . import __version__, figures, files, films, images, measurements
from .catalog import SettingError
from .deploy import kept
from .images import ImageError
from .pretrained import PriorError

__all__ = ["Options", "run"]

Call = Callable[..., Any]
Watch = Callable[[Tensor, float], None]
Source = files.File | measurements.Measurement
UNCERTAIN = 8  # samples that --uncertainty draws where --samples does not say


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every command takes beside its task's own settings."""

    output: str | None = None
    force: bool = False
    compare: bool = False
    uncertainty: bool = False
    json: bool = False
    quiet: bool = False


@kept()
def run(task: Call, names: Sequence[str] | None, settings: dict[str, Any], o: Options) -> int:
    """Run a task over files; return the exit code: 0, 1 if a file failed, 2 for wrong usage."""
    code, known = 0, _suffixes(task)
    word = f"{import_module(task.__module__).WORD}{known[0]}"
    if o.uncertainty and settings["samples"] == 1:
        settings = {**settings, "samples": UNCERTAIN}
    try:
        sources = _expand(names)
        _check(sources, settings, known, o)
    except ImageError as error:
        return _say(error, 1)
    except SettingError as error:
        return _say(error, 2)
    for source in sources:
        try:
            _one(task, source, settings, o, _target(source, word, o))
        except (SettingError, PriorError) as error:
            return _say(error, 2)
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            name = "" if source is None or str(error).startswith(str(source)) else f"{source}: "
            code = _say(f"{name}{error}", 1)
    return code


def _suffixes(task: Call) -> Sequence[str]:
    """Return how files of a task's results may end; the first is for those that are not named."""
    module = import_module(task.__module__)
    own = getattr(module, "SUFFIX", None)
    return (own,) if own else (*files.SUFFIXES, *getattr(module, "FILMS", ()))


def _expand(names: Sequence[str] | None) -> Sequence[Path | None]:
    """Return the pictures to work on; None stands for a task that needs none."""
    if names is None:
        return [None]
    plain = [n for n in names if n != "-"]
    return [Path("-")] * (len(plain) < len(names)) + (files.find(plain) if plain else [])


def _check(
    sources: Sequence[Path | None], settings: Mapping[str, Any], known: Sequence[str], o: Options
) -> None:
    """Refuse what makes no sense before any work is done."""
    if len(sources) > 1 and o.output and not _is_folder(o.output):
        raise SettingError(f"several pictures need a folder for output, got {o.output}")
    if o.output and o.output != "-" and not _is_folder(o.output):
        if Path(o.output).suffix.lower() not in known:
            raise SettingError(
                f"{o.output} is no file of this kind ({', '.join(known)}) and no folder; "
                "a new folder is written with / at its end"
            )
    streams = o.output == "-" or (o.output is None and Path("-") in sources)
    if streams and (settings.get("samples", 1) > 1 or o.json or o.compare or o.uncertainty):
        raise SettingError("standard output takes one picture and nothing else; give -o FILE")


def _is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def _target(source: Path | None, word: str, o: Options) -> Path | None:
    """Return where the picture goes; None is standard output."""
    if o.output == "-" or (o.output is None and source == Path("-")):
        return None
    if o.output and not _is_folder(o.output):
        return Path(o.output)
    name = word if source in (None, Path("-")) else f"{source.stem}.{word}"
    folder = Path(o.output) if o.output else source.parent if source else Path()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def _one(
    task: Call, source: Path | None, settings: Mapping[str, Any], o: Options, target: Path | None
) -> None:
    """Run one file."""
    targets = _targets(target, settings.get("samples", 1), o)
    if not o.force and (there := [t for t in targets.values() if t and t.exists()]):
        raise ImageError(f"{there[0]} exists; use --force to overwrite it")
    file = None if source is None else _read(task, source)
    with _progress(str(source or task.__name__), o.quiet) as watch:
        result = _call(task, file, settings, watch)
    for key, path in targets.items():
        data = _data(key, result, file, path.suffix.lower() if path else ".png")
        if path is None:
            sys.stdout.buffer.write(data)
        else:
            files.write(data, path, o.force)
    if o.json:
        outputs = {str(k): str(p) for k, p in targets.items()}
        print(json.dumps({"input": str(source), "outputs": outputs, **result.report}), flush=True)
    elif "note" in result.report:
        print(f"{source}: {result.report['note']}", file=sys.stderr)


def _targets(target: Path | None, samples: int, o: Options) -> dict[str | int, Path | None]:
    """Return what is written where: samples by number, and the extra pictures."""
    if target is None:
        return {0: None}
    stem, suffix = target.with_suffix(""), target.suffix
    one = samples == 1 or suffix.lower() in films.SUFFIXES
    drawn = [target] if one else [Path(f"{stem}-{k + 1}{suffix}") for k in range(samples)]
    found: dict[str | int, Path | None] = dict(enumerate(drawn))
    for extra in ("uncertainty", "compare"):
        if getattr(o, extra):
            found[extra] = Path(f"{stem}.{extra}.png")
    return found


def _read(task: Call, source: Path) -> Source:
    """Return what a file holds: numbers for a task that takes a y, else a picture."""
    data = sys.stdin.buffer if source == Path("-") else source
    measured = "y" in inspect.signature(task).parameters
    return measurements.read(data) if measured else files.read(data)


def _call(task: Call, file: Source | None, settings: Mapping[str, Any], watch: Watch) -> Any:
    """Call the task on one file, its values to come back as they are."""
    words = getattr(import_module(task.__module__), "KEYWORDS", ())  # said in place of a picture
    plain = {k: str(v) if str(v) in words else v for k, v in settings.items()}
    given = {k: files.read_mask(v) if isinstance(v, Path) else v for k, v in plain.items()}
    if file is None:
        return task(**given, watch=watch)
    known = inspect.signature(task).parameters
    if "names" in known:
        given["names"] = [Path(file.name).name]
    if isinstance(file, measurements.Measurement):
        return task(file.array, **given, watch=watch)
    if "coding" in known:
        given["coding"] = file.coding
    raw = replace(file.pictures, rebuild=lambda values, alpha: (values, alpha))
    return task(raw, **given, watch=watch)


def _data(key: str | int, result: Any, file: Source | None, suffix: str) -> bytes:
    """Return the bytes of one of the files to write."""
    if key == 0 and hasattr(result, "data"):
        data: bytes = result.data()
        return data
    icc = file.icc if isinstance(file, files.File) else None
    text = {"Software": f"diffprior {__version__}", "diffprior": json.dumps(result.report)}
    if suffix in films.SUFFIXES:
        frames = [_content(k, result, file)[0] for k in range(len(result.samples))]
        return films.encode(frames, suffix, text)
    return files.encode(*_content(key, result, file), suffix, icc, text)


def _content(
    key: str | int, result: Any, file: Source | None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Return values ``(H, W, C)`` and alpha ``(H, W)`` of one of the pictures to write."""
    if key == "uncertainty":
        std = torch.as_tensor(np.asarray(result.std))
        return np.asarray(figures.heat(std if std.ndim == 2 else std.mean(-1))), None
    if key == "compare":
        return _beside(result, file), None
    picture = result.samples[key]
    if not isinstance(picture, tuple):
        return np.asarray(picture), None
    values, alpha = picture
    return values[0], None if alpha is None else alpha[0]


def _beside(result: Any, file: Source | None) -> np.ndarray[Any, Any]:
    """Return what came in, the mask if there was one, and what came out, side by side."""
    assert isinstance(file, files.File)
    values, _ = result.image
    after = replace(file.pictures, values=values, alpha=None).tensor()
    before = functional.interpolate(file.pictures.tensor(), after.shape[-2:])
    panels = [before, after]
    if not bool((result.cover == 1).all()):
        panels.insert(1, (2 * result.cover - 1).expand_as(after))
    return np.concatenate([np.asarray(images.to_pil(p[0])) for p in panels], 1)


@contextmanager
def _progress(name: str, quiet: bool) -> Iterator[Watch]:
    """Show a bar with the time left, where there is a terminal to show it on."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        bar = progress.add_task(name, total=1.0)
        yield lambda x, done: progress.update(bar, completed=done)


def _say(error: object, code: int) -> int:
    print(f"diffprior: {' '.join(str(error).split())}", file=sys.stderr)
    return code
