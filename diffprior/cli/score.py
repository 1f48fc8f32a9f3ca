"""The command that says how well a prior fits images: ``diffprior score FILE ...``.

The module imports nothing heavy, so that the help of the command is fast.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ExtraError, ImageError, PriorError, SettingError
from .progress import Bar
from .serving import Backend, Device, Prior
from .streams import OutputError, emit, is_closed, say

if TYPE_CHECKING:
    from ..evaluation.fit import Fit
    from ..io.files import File
    from .outputs import Input

__all__ = ["score"]

COLUMNS = ("file", "bits per dimension", "standard error", "PNG", "WebP")
Measure = Callable[["File", Callable[[Any, float], None]], "Fit"]


def score(  # noqa: PLR0913 (the options of the command)
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="Image files, folders or glob patterns; - reads stdin."
        ),
    ],
    prior: Prior = None,
    label: Annotated[
        int | None, typer.Option(help="Class of the images, for a class-conditional prior.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="bound, the variational bound in the limit of many steps; or flow, the exact "
            "log-density along the probability flow, which takes longer."
        ),
    ] = "bound",
    windows: Annotated[
        int,
        typer.Option(
            help="The most parts of an image that are measured, spread evenly; 0 is all that fit."
        ),
    ] = 4,
    side: Annotated[int, typer.Option(help="Side of a part, in pixels.")] = 128,
    draws: Annotated[
        int,
        typer.Option(help="Draws of the noise for each part; their spread is the standard error."),
    ] = 2,
    levels: Annotated[int, typer.Option(help="Noise levels of the bound.")] = 16,
    dequantization: Annotated[
        str,
        typer.Option(
            help="What lies inside the 256 levels for the flow: uniform noise; or variational, "
            "the noise of the prior at its lowest level."
        ),
    ] = "uniform",
    probes: Annotated[
        int, typer.Option(help="Random vectors that estimate the trace of the flow.")
    ] = 2,
    tolerance: Annotated[float, typer.Option(help="Error of a step of the flow.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    device: Device = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            "--dtype",
            help="Number format of the network: auto, float32, bfloat16 or float16.",
        ),
    ] = "float32",
    backend: Backend = None,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON a file.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Do not show a progress bar.")
    ] = False,
) -> None:
    """Say how well a prior fits images, in bits per dimension, next to PNG and WebP.

    A dimension is one channel of one pixel. The fewer bits, the better the prior knows such images.
    The numbers are those of parts of each image, which PNG and WebP code without loss. The exit
    code is 1 if a file failed.
    """
    bar = Bar(quiet)
    with bar.run(), _wrong_usage():
        from ..evaluation.fit import FitSettings

        if json and csv:
            raise SettingError("the result is --json or --csv, and not both")
        settings = FitSettings(
            by=by,  # type: ignore[arg-type]
            windows=windows,
            side=side,
            draws=draws,
            levels=levels,
            dequantization=dequantization,  # type: ignore[arg-type]
            probes=probes,
            tolerance=tolerance,
            seed=seed,
        )
        opened = _open(prior, device, precision, backend, label)
        measure = partial(_measure, opened, settings)
        code = _run(files, measure, "json" if json else "csv" if csv else "table", bar)
    raise typer.Exit(code)


@contextmanager
def _wrong_usage() -> Iterator[None]:
    """Report settings and priors that cannot be used as wrong usage."""
    try:
        yield
    except (ExtraError, PriorError, SettingError) as error:
        raise typer.BadParameter(str(error)) from None


def _open(
    prior: str | None, device: str | None, dtype: str, backend: str | None, label: int | None
) -> Any:
    """Return the prior on its device, in its number format, under its class."""
    from ..priors.half import HalfPrior
    from ..runtime.placement import dtype_of, place_prior

    opened = place_prior(prior, device, dtype, backend=backend)
    try:
        opened = opened if label is None else opened.with_label(label)
    except ValueError as error:  # as a prior without classes has it
        raise SettingError(str(error)) from error
    half = dtype_of(dtype, opened.like.device)
    return opened if half is None else HalfPrior(opened, half)


def _measure(
    prior: Any, settings: Any, file: "File", callback: Callable[[Any, float], None]
) -> "Fit":
    from ..evaluation.fit import measure_fit

    return measure_fit(prior, file.images, settings, callback)


def _run(names: Sequence[str], measure: Measure, form: str, bar: Bar) -> int:
    """Measure each file, print what was found, and return the exit code."""
    from .inputs import expand
    from .process import check_signals

    found = expand(names)
    for note in found.notes:
        say(note)
    code = max((_fail(fault) for fault in found.faults), default=0)
    fits: dict[Input, Fit] = {}
    for source in found.inputs:
        try:
            with bar.of(str(source), "reading"):
                file = _read(source)
                fits[source] = measure(file, lambda _, share: bar.update(share))
        except (OutputError, SettingError):
            raise
        except Exception as error:
            check_signals()
            code = _fail(error, source)
            continue
        if form == "json":
            bar.clear()
            emit(_as_json(source, fits[source]))
    bar.clear()
    if fits and form != "json":
        emit(_table(fits, form))
    return code


def _read(source: "Input") -> "File":
    """Return the image of a file, or of standard input."""
    from ..io import files

    if isinstance(source, Path):
        return files.read(source)
    if is_closed(sys.stdin):
        raise ImageError("standard input is closed")
    return files.read(sys.stdin.buffer)


def _as_json(source: "Input", fit: "Fit") -> str:
    from ..runtime.report import as_json

    return as_json({"input": str(source), **asdict(fit)})


def _table(fits: "dict[Input, Fit]", form: str) -> str:
    """Return the rows of all files, and their mean, as markdown or as CSV."""
    from ..evaluation.tables import markdown, plain

    lines = [[plain(str(source)), *_cells(fit)] for source, fit in fits.items()]
    if form == "csv":
        return _csv(lines)
    if len(fits) > 1:
        means = [
            fmean(getattr(fit, name) for fit in fits.values()) for name in ("bits", "png", "webp")
        ]
        lines.append(["mean", f"{means[0]:.3f}", "", *(f"{mean:.3f}" for mean in means[1:])])
    parts = sum(len(fit.windows) for fit in fits.values())
    sides = {f"{w.width} x {w.height}" for fit in fits.values() for w in fit.windows}
    return (
        markdown(COLUMNS, lines)
        + f"\n\nMeasured on {parts} parts of {', '.join(sorted(sides))} pixels."
    )


def _cells(fit: "Fit") -> list[str]:
    """Return the numbers of one file as text."""
    error = "" if fit.standard_error is None else f"{fit.standard_error:.3f}"
    return [f"{fit.bits:.3f}", error, f"{fit.png:.3f}", f"{fit.webp:.3f}"]


def _csv(lines: list[list[str]]) -> str:
    import csv
    from io import StringIO

    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *lines])
    return text.getvalue().rstrip("\n")


def _fail(error: Exception, source: "Input" = None) -> int:
    """Say what went wrong, with the file if there is one, and return the exit code."""
    from ..validation import shown
    from .process import describe

    text = describe(error)
    known = source is None or text.startswith((str(source), shown(source)))
    say(text if known else f"{shown(source)}: {text}")
    return 1
