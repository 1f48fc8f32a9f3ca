"""Where the files of a run go. It is decided, or refused, before any work is done."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from ..errors import ImageError, SettingError
from ..io import animations
from ..io.previews import heat_map
from ..validation import shown
from .naming import EXTRAS, identity, result_stems
from .streams import is_closed

__all__ = ["Input", "Options", "Plan", "Targets", "check_place", "heat_map", "plan_outputs"]

Input = Path | Literal["-"] | None  # a file, standard input, or nothing to read
Targets = Mapping[str | int, Path | None]  # samples by number, and extra images; None: stdout
LONGEST = 255  # bytes of a file name, on nearly all file systems


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that all commands share."""

    output: str | None = None
    force: bool = False
    skip_existing: bool = False
    compare: bool = False
    uncertainty: bool = False
    shown: bool = False  # of a mask
    json: bool = False
    quiet: bool = False
    strip_metadata: bool = False
    max_pixels: int | None = None  # None: that of diffprior.io.files
    jobs: int = 1  # processes


class Plan(NamedTuple):
    """What a run is to write, and the inputs that it leaves out.

    Attributes:
        targets: The files to write for each input.
        faults: Why inputs cannot be done.
        notes: Why inputs need not be done.
    """

    targets: Mapping[Input, Targets]
    faults: Sequence[ImageError]
    notes: Sequence[str]


def plan_outputs(
    sources: Sequence[Input], word: str, known: Sequence[str], samples: int, o: Options
) -> Plan:
    """Return the files to write for each input. Folders that do not exist are made.

    For several inputs, an output without a suffix is a folder.

    An input that the result of another one goes to is such a result itself, and is left out.

    Arguments:
        sources: The inputs.
        word: The end of the name of a result, with its suffix, as in ``inpainted.png``.
        known: The suffixes that results may have.
        samples: The number of samples of each input.
        o: The options of the command.

    Raises:
        SettingError: If the options contradict each other.
        ImageError: If nothing can be written there.
    """
    if len(sources) > 1 and o.output not in (None, "", "-") and not Path(o.output).suffix:
        o = replace(o, output=f"{o.output}/")
    _check_outputs(sources, known, samples, o)
    folder = Path(o.output) if o.output and _is_folder(o.output) else None
    stems = result_stems([s for s in sources if isinstance(s, Path)], folder)
    plan: dict[Input, Targets] = {}
    owners: dict[str, Input] = {}
    faults = []
    for source in sources:
        name = word if not isinstance(source, Path) else f"{stems[source]}.{word}"
        targets = _targets(_target(source, name, o), samples, o)
        paths = [identity(path) for path in targets.values() if path]
        if taken := [path for path in paths if path in owners]:
            first = shown(owners[taken[0]])
            faults.append(ImageError(f"{source}: its result would replace that of {first}"))
            continue
        owners.update(dict.fromkeys(paths, source))
        plan[source] = targets
    if o.output:
        for path in {t.parent for targets in plan.values() for t in targets.values() if t}:
            _check_folder(path, make=_is_folder(o.output))
    notes = []
    for source in [s for s in plan if isinstance(s, Path)]:
        if (owner := owners.get(identity(source), source)) != source:
            notes.append(f"{shown(source)} is left out: the result of {shown(owner)} goes there")
            del plan[source]
    return Plan(plan, faults, notes)


def check_place(targets: Targets) -> None:
    """Check, before any work, that files of these names can be written.

    Raises:
        ImageError: If a name is too long, or its folder is none that can be written to.
    """
    for path in filter(None, targets.values()):
        if (length := len(os.fsencode(path.name))) > LONGEST:
            raise ImageError(
                f"the name of its result has {length} bytes, and a file may have {LONGEST}; "
                "give -o FILE"
            )
        _check_folder(path.parent, make=False)


def _check_outputs(
    sources: Sequence[Input], known: Sequence[str], samples: int, o: Options
) -> None:
    """Check that the options do not contradict each other."""
    if o.force and o.skip_existing:
        raise SettingError("--force writes again what --skip-existing leaves; give one of them")
    if o.output == "":
        raise SettingError("the output has an empty name; give a file, a folder or -")
    if len(sources) > 1 and o.output and not _is_folder(o.output):
        raise SettingError(
            f"several images need a folder for output, got {shown(o.output)}; "
            "a new folder is written with / at its end"
        )
    if o.output and o.output != "-" and not _is_folder(o.output):
        if Path(o.output).suffix.lower() not in known:
            raise SettingError(
                f"{shown(o.output)} is no file of this kind ({', '.join(known)}) and no folder; "
                "a new folder is written with / at its end"
            )
    if any(_streams(source, o) for source in sources):
        if samples > 1 or o.json or o.compare or o.uncertainty or o.shown:
            raise SettingError("standard output takes one image and nothing else; give -o FILE")
        if is_closed(sys.stdout):
            raise SettingError("standard output is closed; give -o FILE")
    if o.uncertainty and samples == 1:
        raise SettingError("one sample has no deviation; --uncertainty needs --samples 2 or more")


def _check_folder(folder: Path, make: bool) -> None:
    """Check that files can be written to a folder."""
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"the folder {shown(folder)} cannot be made: {error.strerror}") from error
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise ImageError(f"{shown(folder)} is no folder that can be written to")


def _is_folder(output: str) -> bool:
    return output.endswith("/") or os.path.isdir(output)


def _streams(source: Input, o: Options) -> bool:
    return o.output == "-" or (o.output is None and source == "-")


def _target(source: Input, name: str, o: Options) -> Path | None:
    """Return the path of the image; None is standard output."""
    if _streams(source, o):
        return None
    if o.output and not _is_folder(o.output):
        return Path(o.output)
    folder = source.parent if isinstance(source, Path) else Path()
    return (Path(o.output) if o.output else folder) / name


def _targets(target: Path | None, samples: int, o: Options) -> Targets:
    """Return the files to write for one input: samples by number, and the extra images."""
    if target is None:
        return {0: None}
    stem = target.with_suffix("")
    suffix = target.suffix
    one = samples == 1 or suffix.lower() in animations.SUFFIXES
    paths = [target] if one else [Path(f"{stem}-{k + 1}{suffix}") for k in range(samples)]
    targets: dict[str | int, Path | None] = dict(enumerate(paths))
    for extra in EXTRAS:
        if getattr(o, extra):
            targets[extra] = Path(f"{stem}.{extra}.png")
    return targets
