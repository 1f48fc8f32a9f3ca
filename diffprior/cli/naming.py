"""The names of results: no two are the same, and none of them is taken for an input.

A result of ``photo.jpg`` is ``photo.denoised.png``. Where two inputs of one call would have the
same name for their results, as ``photo.jpg`` and ``photo.png`` have, the suffixes are kept
(``photo.jpg.denoised.png``), and where that does not tell them apart, the folders
(``day1-photo.denoised.png``).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from os.path import abspath
from pathlib import Path

__all__ = ["EXTRAS", "identity", "is_result", "result_stems"]

EXTRAS = ("uncertainty", "compare", "shown")  # images beside the samples


def identity(path: Path) -> str:
    """Return the whole path of a file, by which it is known whatever it was called."""
    try:
        return abspath(path)
    except OSError:  # the working folder is gone
        return str(path)


def _parent(path: Path) -> str:
    return Path(identity(path)).parent.name


FORMS: Sequence[Callable[[Path], str]] = (  # of what stands before the word of the task
    lambda path: path.stem,
    lambda path: path.name,
    lambda path: f"{_parent(path)}-{path.stem}",
    lambda path: f"{_parent(path)}-{path.name}",
)


def result_stems(sources: Iterable[Path], folder: Path | None) -> Mapping[Path, str]:
    """Return the part of the name of each result that stands before the word of its task.

    Names that differ in case alone are told apart where they can be: some file systems do not.

    Arguments:
        sources: The inputs.
        folder: Where all results go; None if each goes beside its input.
    """
    groups: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for source in sources:
        groups[folder or source.parent, source.stem.casefold()].append(source)
    stems = {}
    for group in groups.values():
        form = _form(group)
        stems.update({source: form(source) for source in group})
    return stems


def _form(group: Sequence[Path]) -> Callable[[Path], str]:
    """Return the first form of names that tells all paths apart, if need be by their case."""
    if len(group) == 1:
        return FORMS[0]
    for fold in (str.casefold, str):
        for form in FORMS:
            if len({fold(form(path)) for path in group}) == len(group):
                return form
    return FORMS[0]


def is_result(name: str, words: Iterable[str], siblings: Set[str]) -> bool:
    """Return whether a file is named as the result of an image that stands beside it.

    Arguments:
        name: The name of the file.
        words: The words of all tasks, such as "denoised".
        siblings: The names of the images of its folder, with and without their suffixes.
    """
    past, extras = ("|".join(map(re.escape, part)) for part in (words, EXTRAS))
    match = re.fullmatch(rf"(.+)\.(?:{past})(?:-\d+)?(?:\.(?:{extras}))?\.png", name, re.DOTALL)
    return match is not None and match[1] in siblings
