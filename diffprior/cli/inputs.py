"""The files that a run works on: names, folders and patterns, each file once."""

import os
from collections.abc import Sequence, Set
from pathlib import Path
from typing import NamedTuple

from ..errors import ImageError
from ..io import files
from ..validation import shown
from . import index
from .naming import identity, is_result
from .outputs import Input

__all__ = ["Found", "expand", "folder_images"]


class Found(NamedTuple):
    """What the words of a command line stand for.

    Attributes:
        inputs: The files, each once.
        faults: Why words stand for nothing.
        notes: How many files were left out, and why.
    """

    inputs: Sequence[Input]
    faults: Sequence[Exception]
    notes: Sequence[str]


def expand(words: Sequence[str] | None) -> Found:
    """Return the files to work on.

    A folder or a pattern leaves out what earlier runs wrote beside its images, unless it stands
    for nothing else. A file that is named is always worked on.

    Arguments:
        words: Files, folders, patterns, or "-" for standard input; None for a task that reads
            nothing.
    """
    if words is None:
        return Found([None], [], [])
    inputs: dict[str, Input] = {}
    faults: list[Exception] = []
    notes: list[str] = []
    for word in words:
        try:
            paths: Sequence[Input] = ["-"] if word == "-" else _matches(word, notes)
            for path in paths:
                inputs.setdefault(identity(path) if isinstance(path, Path) else "-", path)
        except OSError as error:
            faults.append(ImageError(f"{shown(word)}: it cannot be looked at: {error.strerror}"))
        except Exception as error:  # of the search; it ends this word and no other
            faults.append(error)
    return Found(list(inputs.values()), faults, notes)


def folder_images(folder: Path) -> Sequence[Path]:
    """Return the images in a folder, without results of earlier runs."""
    return [path for path in _matches(str(folder), []) if isinstance(path, Path)]


def _matches(word: str, notes: list[str]) -> Sequence[Input]:
    """Return the files that a word stands for, without results of earlier runs."""
    paths = files.find([word])
    if paths == [Path(word)]:
        return paths
    words = {command.past for command in index.commands().values() if command.past}
    siblings: dict[Path, Set[str]] = {}
    for folder in {path.parent for path in paths}:
        siblings[folder] = _images(folder)
    sources = [p for p in paths if not is_result(p.name, words, siblings[p.parent])]
    if not sources:
        return paths
    left_out = [p for p in paths if p not in sources and not _is_mask(p)]
    if not left_out:
        return sources
    what = (
        "1 result of an earlier run is"
        if len(left_out) == 1
        else f"{len(left_out)} results of earlier runs are"
    )
    notes.append(f"{shown(word)}: {what} left out; give the name of a file to work on it")
    return sources


def _is_mask(path: Path) -> bool:
    """Return whether the name is that of a mask, which nobody takes for an image to work on."""
    return path.stem.endswith((".mask", ".mask.shown"))


def _images(folder: Path) -> Set[str]:
    """Return the names of the images in a folder, with and without their suffixes."""
    names = [n for n in os.listdir(folder) if n.lower().endswith(files.READABLE)]
    return {*names, *(Path(name).stem for name in names)}
