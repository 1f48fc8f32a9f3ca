"""Figures of measured values, drawn by matplotlib."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from ..errors import FigureError
from . import documents

__all__ = ["curves", "lines"]


def lines(
    path: Path,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    axes: tuple[str, str],
    ticks: Sequence[str] | None = None,
    log: bool = False,
) -> None:
    """Draw one line for each series, labeled with its name and its last value.

    Arguments:
        path: File to write; its suffix selects the format, as in ``curve.png`` or ``curve.svg``.
        x: Positions on the horizontal axis.
        series: Values at these positions, by name.
        axes: Labels of the horizontal and the vertical axis, with their units.
        ticks: Labels of the positions; by default their numbers.
        log: Whether the vertical axis is logarithmic.

    Raises:
        FigureError: If matplotlib is not installed.
    """
    figure, plot = _figure(axes)
    for name, values in series.items():
        (line,) = plot.plot(x, values, marker=".", label=name)
        last = f" {name}: {values[-1]:.2f}"
        plot.annotate(last, (x[-1], values[-1]), color=line.get_color(), va="center", fontsize=8)
    if ticks is not None:
        plot.set_xticks(x, ticks)
    plot.set_yscale("log" if log else "linear")
    plot.margins(x=0.16)
    _save(figure, path)


def curves(
    path: Path, series: Mapping[str, Sequence[tuple[float, float]]], *, axes: tuple[str, str]
) -> None:
    """Draw one curve through the points (x, y) of each series, with a legend.

    Arguments:
        path: File to write; its suffix selects the format.
        series: Points of each curve, by name.
        axes: Labels of the horizontal and the vertical axis, with their units.

    Raises:
        FigureError: If matplotlib is not installed.
    """
    figure, plot = _figure(axes)
    for name, points in series.items():
        plot.plot(*zip(*points, strict=True), marker=".", label=name)
    plot.legend(fontsize=8)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """Write a figure whole or not at all."""
    file = BytesIO()
    figure.savefig(file, format=path.suffix.removeprefix(".") or None, dpi=120)
    documents.write(file.getvalue(), path)


def _figure(axes: tuple[str, str]) -> tuple[Any, Any]:
    """Return an empty figure and its plot."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        message = "figures are drawn by matplotlib: pip install 'diffprior[figures]'"
        raise FigureError(message) from None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    plot = figure.subplots()
    plot.set(xlabel=axes[0], ylabel=axes[1])
    plot.grid(alpha=0.3)
    return figure, plot
