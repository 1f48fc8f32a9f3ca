"""The work on one file: read it, call the task, make the bytes of the results."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch.nn import functional

from .. import __version__
from ..batching import Callback
from ..errors import ImageError
from ..io import animations, arrays, atomic, files, numbers
from ..runtime.report import as_json
from ..runtime.signature import TaskFunction
from ..runtime.task import Task
from ..validation import warn
from .outputs import Targets, heat_map

__all__ = ["Source", "call", "check_depth", "data", "pieces", "read"]

Source = files.File | numbers.Measurement


def read(task: Task, source: Path | BinaryIO, limit: int) -> Source:
    """Return what a file, or a stream, holds: numbers, or an image."""
    return numbers.read(source) if task.input == "numbers" else files.read(source, limit)


def check_depth(file: Source | None, targets: Targets) -> None:
    """Check, before any work, that the files to write can hold the depth of the image."""
    if not isinstance(file, files.File):
        return
    for path in filter(None, targets.values()):
        suffix = path.suffix.lower()
        kind = animations if suffix in animations.SUFFIXES else files
        if suffix in kind.SUFFIXES:
            kind.check_depth(file.images.values.dtype, suffix)


def call(
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


def data(key: str | int, result: Any, file: Source | None, suffix: str, strip: bool) -> bytes:
    """Return the bytes of one of the files to write.

    A result has the metadata of the file that it was made from; without them it keeps what says how
    its numbers become colors.
    """
    if key == 0 and hasattr(result, "data"):
        own: bytes = result.data()
        return own
    about = file.metadata if isinstance(file, files.File) and key != "uncertainty" else None
    if about is not None and (strip or key == "compare"):
        about = about.colors()
    several = isinstance(key, int) and len(result.samples) > 1 and suffix not in animations.SUFFIXES
    report = result.report | ({"sample": int(key) + 1} if several else {})
    text = {"Software": f"diffprior {__version__}", "diffprior": as_json(report)}
    text = {} if strip else text
    if suffix in animations.SUFFIXES:
        frames = [content(k, result, file) for k in range(len(result.samples))]
        if any(alpha is not None and alpha.min() < 255 for _, alpha in frames):
            warn(f"{suffix} animations hold no alpha (transparency); dropped")
        return animations.encode([values for values, _ in frames], suffix, text)
    return files.encode(*content(key, result, file), suffix, about, text)


def pieces(
    key: str | int, result: Any, file: Source | None, suffix: str, strip: bool
) -> atomic.Data:
    """Return the bytes of one of the files to write, or a function that yields those of a code."""
    if key == 0 and hasattr(result, "trajectory"):
        of_code: Callable[[], Iterator[bytes]] = result.trajectory.pieces
        return of_code
    return data(key, result, file, suffix, strip)


def content(
    key: str | int, result: Any, file: Source | None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Return values ``(H, W, C)`` and alpha ``(H, W)`` of one of the images to write."""
    if key == "uncertainty":
        std = torch.as_tensor(np.asarray(result.std))
        return np.asarray(heat_map(std if std.ndim == 2 else std.mean(-1))), None
    if key == "compare":
        return side_by_side(result, file), None
    image = result.samples[key]
    if not isinstance(image, tuple):
        return np.asarray(image), None
    values, alpha = image
    return values[0], None if alpha is None else alpha[0]


def side_by_side(result: Any, file: Source | None) -> np.ndarray[Any, Any]:
    """Return the input, the mask if there was one, and the result, side by side."""
    assert isinstance(file, files.File)
    values, _ = result.image
    after = replace(file.images, values=values, alpha=None).tensor()
    before = functional.interpolate(file.images.tensor(), after.shape[-2:])
    panels = [before, after]
    if not bool((result.cover == 1).all()):
        panels.insert(1, (2 * result.cover - 1).expand_as(after))
    return np.concatenate([np.asarray(arrays.to_pil(p[0])) for p in panels], 1)
