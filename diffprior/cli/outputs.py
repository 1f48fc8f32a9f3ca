"""Where the files of a run go. It is decided, or refused, before any work is done."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from ..errors import ImageError, SettingError
from ..io import animations

__all__ = ["Input", "Options", "Targets", "plan_outputs", "heat_map"]

Input = Path | Literal["-"] | None  # a file, standard input, or nothing to read
Targets = Mapping[str | int, Path | None]  # samples by number, and extra images; None: stdout


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that all commands share."""

    output: str | None = None
    force: bool = False
    compare: bool = False
    uncertainty: bool = False
    json: bool = False
    quiet: bool = False
    strip_metadata: bool = False
    max_pixels: int | None = None  # None: that of diffprior.io.files


def plan_outputs(
    sources: Sequence[Input], word: str, known: Sequence[str], samples: int, o: Options
) -> dict[Input, Targets]:
    """Return the files to write for each input. Folders that do not exist are made.

    Arguments:
        sources: The inputs.
        word: The end of the name of a result, with its suffix, as in ``inpainted.png``.
        known: The suffixes that results may have.
        samples: The number of samples of each input.
        o: The options of the command.

    Raises:
        SettingError: If the options contradict each other, or two results would be one file.
        ImageError: If nothing can be written there.
    """
    _check_outputs(sources, known, samples, o)
    plan = {source: _targets(_target(source, word, o), samples, o) for source in sources}
    owners: dict[Path, Input] = {}
    for source, targets in plan.items():
        for path in filter(None, targets.values()):
            if (first := owners.setdefault(path, source)) != source:
                raise SettingError(
                    f"{first} and {source} would both be written to {path}; run them apart"
                )
    if o.output:
        for folder in {path.parent for path in owners}:
            _check_folder(folder, make=_is_folder(o.output))
    return plan


def _check_outputs(
    sources: Sequence[Input], known: Sequence[str], samples: int, o: Options
) -> None:
    """Check that the options do not contradict each other."""
    if o.output == "":
        raise SettingError("the output has an empty name; give a file, a folder or -")
    if len(sources) > 1 and o.output and not _is_folder(o.output):
        raise SettingError(f"several images need a folder for output, got {o.output}")
    if o.output and o.output != "-" and not _is_folder(o.output):
        if Path(o.output).suffix.lower() not in known:
            raise SettingError(
                f"{o.output} is no file of this kind ({', '.join(known)}) and no folder; "
                "a new folder is written with / at its end"
            )
    if any(_streams(source, o) for source in sources):
        if samples > 1 or o.json or o.compare or o.uncertainty:
            raise SettingError("standard output takes one image and nothing else; give -o FILE")
        if sys.stdout is None:
            raise SettingError("standard output is closed; give -o FILE")
    if o.uncertainty and samples == 1:
        raise SettingError("one sample has no deviation; --uncertainty needs --samples 2 or more")


def _check_folder(folder: Path, make: bool) -> None:
    """Check that files can be written to a folder."""
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"the folder {folder} cannot be made: {error.strerror}") from error
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ImageError(f"{folder} is no folder that can be written to")


def _is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def _streams(source: Input, o: Options) -> bool:
    return o.output == "-" or (o.output is None and source == "-")


def _target(source: Input, word: str, o: Options) -> Path | None:
    """Return the path of the image; None is standard output."""
    if _streams(source, o):
        return None
    if o.output and not _is_folder(o.output):
        return Path(o.output)
    name = f"{source.stem}.{word}" if isinstance(source, Path) else word
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
    for extra, is_set in {"uncertainty": o.uncertainty, "compare": o.compare}.items():
        if is_set:
            targets[extra] = Path(f"{stem}.{extra}.png")
    return targets


def heat_map(std: Tensor) -> Image.Image:
    """Return a map of standard deviations as an 8-bit RGB image in the colors of viridis.

    Arguments:
        std: Numbers >= 0 of shape ``(H, W)``; the largest one gets the brightest color.
    """
    import cv2  # takes long to import, and few commands need it

    s = std.detach().cpu().double().numpy()
    gray = np.rint(255 * s / max(s.max(), 1e-12)).astype(np.uint8)
    colors = cv2.applyColorMap(gray, cv2.COLORMAP_VIRIDIS)
    return Image.fromarray(np.ascontiguousarray(colors[..., ::-1]))
