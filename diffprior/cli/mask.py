"""The command that makes a first mask: ``diffprior mask KIND ...``.

The module imports nothing heavy, so that the help of the command is fast.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ImageError, SettingError
from .streams import OutputError, emit, emit_bytes, say

if TYPE_CHECKING:
    from ..io.files import File
    from .outputs import Input, Options, Targets

__all__ = ["mask"]

WORD = "mask"  # in the names of the results
SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".webp")  # of files without loss
SIDE = 2048  # px; the longest of an image that shows a mask

Find = Callable[[Any], Any]  # a function of Images that returns a bool array (H, W)

mask = typer.Typer(
    name=WORD,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make a first mask of scratches, text, paint or changes, to correct by hand.",
)

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE", help="Image files, folders or glob patterns; - reads stdin."),
]
Sensitivity = Annotated[
    float,
    typer.Option(min=0, max=1, help="From 0, only what is sure, to 1, all that may be meant."),
]
Dilate = Annotated[
    int | None,
    typer.Option(min=0, help="Pixels to grow the mask by; default: what suits the kind."),
]
Task = Callable[..., tuple[Find, Sequence[str]]]  # the finder of masks, and the files


def _output(kind: Any, *flags: str, help: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(*flags, help=help, rich_help_panel="Output", **more)]


SHARED: dict[str, tuple[Any, Any]] = {  # of all kinds of masks, with their defaults
    "output": (
        _output(
            str | None,
            "-o",
            "--output",
            help="Where the mask goes: a file, a folder/, or - for standard output. "
            "By default FILE.mask.png, beside the image.",
        ),
        None,
    ),
    "show": (
        _output(
            bool,
            help="Also write FILE.mask.shown.png, which shows the mask in red over the image.",
        ),
        True,
    ),
    "force": (_output(bool, "--force", help="Overwrite files that exist."), False),
    "skip_existing": (
        _output(bool, "--skip-existing", help="Leave out inputs whose masks exist."),
        False,
    ),
    "json": (_output(bool, "--json", help="Print one line of JSON for each file."), False),
    "max_pixels": (
        _output(
            int | None,
            min=1,
            max=2**40,
            help="The largest number of pixels of an image that is read; default: 268 million.",
        ),
        None,
    ),
}


def _kind(name: str) -> Callable[[Task], Task]:
    """Make a command of a function of the shared options and of its own ones."""

    def decorate(task: Task) -> Task:
        _, *own = inspect.signature(task).parameters.values()
        kind = inspect.Parameter.KEYWORD_ONLY
        shared = [
            inspect.Parameter(key, kind, default=default, annotation=annotation)
            for key, (annotation, default) in SHARED.items()
        ]

        def command(**settings: Any) -> None:
            o = _options(**{key: settings.pop(key) for key in SHARED})
            try:
                find, files = task(o, **settings)
            except ImageError as error:
                raise typer.Exit(_fail(error, 1)) from None
            raise typer.Exit(_run(find, files, o))

        parameters = [p.replace(kind=kind) for p in own] + shared
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        mask.command(name, help=task.__doc__)(command)
        return task

    return decorate


@_kind("scratches")
def _scratches(
    o: "Options", files: Files, sensitivity: Sensitivity = 0.5, dilate: Dilate = None
) -> tuple[Find, Sequence[str]]:
    """Find thin bright or dark lines, and spots of dust."""
    from ..masks import scratches

    return partial(scratches, sensitivity=sensitivity, **_given(dilate=dilate)), files


@_kind("text")
def _text(
    o: "Options", files: Files, sensitivity: Sensitivity = 0.5, dilate: Dilate = None
) -> tuple[Find, Sequence[str]]:
    """Find captions, dates and logos of one color that were laid over a photo."""
    from ..masks import text

    return partial(text, sensitivity=sensitivity, **_given(dilate=dilate)), files


@_kind("difference")
def _difference(
    o: "Options",
    photo: Annotated[str, typer.Argument(help="The image that the mask is for.")],
    other: Annotated[Path, typer.Argument(help="Another file of it, of which parts differ.")],
    dilate: Dilate = None,
) -> tuple[Find, Sequence[str]]:
    """Find what differs between two files, such as a photo and a copy that was painted over."""
    from ..io import files
    from ..masks import difference

    second = files.read(other, _limit(o)).images
    return partial(difference, other=second, **_given(dilate=dilate)), [photo]


@_kind("color")
def _color(
    o: "Options",
    color: Annotated[str, typer.Argument(help='The paint: a name such as red, or "#ff0000".')],
    files: Files,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="The largest distance from the paint; 1 is from black to white."
        ),
    ] = 0.1,
    dilate: Dilate = None,
) -> tuple[Find, Sequence[str]]:
    """Find what is painted over in one color."""
    from ..masks.paint import color as find_color
    from ..masks.paint import parse

    try:
        parse(color)
    except SettingError as error:
        raise typer.BadParameter(str(error)) from None
    return partial(find_color, color=color, tolerance=tolerance, **_given(dilate=dilate)), files


def _given(**settings: Any) -> dict[str, Any]:
    """Return the settings that were given, so that the others have their defaults."""
    return {name: value for name, value in settings.items() if value is not None}


def _options(show: bool, **shared: Any) -> "Options":
    from .outputs import Options

    return Options(shown=show, **shared)


def _limit(o: "Options") -> int:
    """Return the most pixels of an image that is read."""
    from ..io import files

    return files.LIMIT if o.max_pixels is None else o.max_pixels


def _run(find: Find, names: Sequence[str], o: "Options") -> int:
    """Make the mask of each file; whatever goes wrong with a file ends that file alone."""
    from dataclasses import replace

    from .inputs import expand
    from .outputs import plan_outputs
    from .process import check_signals

    found = expand(names)
    if o.output == "-" or (o.output is None and "-" in found.inputs):
        o = replace(o, shown=False)  # standard output takes one image
    try:
        plan = plan_outputs(found.inputs, f"{WORD}.png", SUFFIXES, 1, o)
    except SettingError as error:
        return _fail(error, 2)
    except ImageError as error:
        return _fail(error, 1)
    for note in (*found.notes, *plan.notes):
        say(note)
    code = max((_fail(fault, 1) for fault in (*found.faults, *plan.faults)), default=0)
    for source, targets in plan.targets.items():
        try:
            _run_one(find, source, targets, o)
        except OutputError:
            raise
        except Exception as error:
            check_signals()
            code = _fail(error, 1, source)
    return code


def _run_one(find: Find, source: "Input", targets: "Targets", o: "Options") -> None:
    """Make the mask of one file, and write it."""
    from ..runtime.report import as_json
    from ..validation import shown
    from .outputs import check_place

    check_place(targets)
    there = [path for path in targets.values() if path and path.exists()]
    if there and o.skip_existing and targets[0] in there:
        return say(f"{shown(source)} is done already")
    if there and not o.force:
        raise ImageError(
            f"{shown(there[0])} exists; use --force to overwrite it, or --skip-existing"
        )
    file = _read(source, o)
    found = find(file.images)
    share = float(found.mean())
    _write(found, file, targets, o)
    if share == 0:
        say(f"{shown(source)}: nothing was found, and the mask is black")
    if o.json:
        outputs = {str(key): str(path) for key, path in targets.items()}
        emit(as_json({"input": str(source), "outputs": outputs, "share": share}))
    elif share > 0:
        say(f"{shown(source)}: {share:.2%} is marked; look at the mask, and correct it by hand")


def _read(source: "Input", o: "Options") -> "File":
    """Return the image of a file, or of standard input."""
    import sys

    from ..io import files
    from .streams import is_closed

    if isinstance(source, Path):
        return files.read(source, _limit(o))
    if is_closed(sys.stdin):
        raise ImageError("standard input is closed")
    return files.read(sys.stdin.buffer, _limit(o))


def _write(found: Any, file: "File", targets: "Targets", o: "Options") -> None:
    """Write a mask, 0 and 255 in one channel, and the image that shows it."""
    import numpy as np

    from ..io import files

    for key, path in targets.items():
        suffix = ".png" if path is None else path.suffix
        if key == "shown":
            values, about = _overlay(file, found), file.metadata.colors()
        else:
            values, about = 255 * found[..., None].astype(np.uint8), None
        data = files.encode(values, None, suffix, about)
        if path is None:
            emit_bytes(data)
        else:
            files.write(data, path, o.force)


def _overlay(file: "File", found: Any) -> Any:
    """Return an image with its mask in red, uint8 ``(H, W, 3)``."""
    import numpy as np
    import torch
    from torch.nn import functional

    from ..io.arrays import to_pil

    x = file.images.tensor()
    m = torch.from_numpy(found)[None, None].float()
    scale = SIDE / max(found.shape)
    if scale < 1:
        size = [max(1, round(scale * n)) for n in found.shape]
        x = functional.interpolate(x, size, mode="area")
        m = functional.adaptive_max_pool2d(m, size)  # a thin line stays to be seen
    red = torch.tensor([1.0, -1.0, -1.0])[None, :, None, None]
    gray = x.mean(1, keepdim=True)  # a red object would hide the red of the mask
    return np.asarray(to_pil(torch.where(m > 0, 0.75 * red + 0.25 * gray, x)[0]))


def _fail(error: Exception, code: int, source: "Input" = None) -> int:
    """Say what went wrong, with the file if there is one, and return the exit code."""
    from ..validation import shown
    from .process import describe

    text = describe(error)
    known = source is None or text.startswith((str(source), shown(source)))
    say(text if known else f"{shown(source)}: {text}")
    return code
