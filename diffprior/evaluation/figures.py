"""Figures of what was measured: curves, and maps of an image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import FigureError

__all__ = ["curves", "lines"]


def lines(
    path: Path,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    across: str,
    up: str,
    places: Sequence[str] | None = None,
    log: bool = False,
) -> None:
    """Draw series over one axis, each with its name and its last value, by matplotlib.

    Arguments:
        path: Where to; the suffix says the format, as in ``curve.png`` or ``curve.svg``.
        x: Places on the axis.
        series: Values at those places, by name.
        across, up: Names of the two axes, with their units.
        places: What is written at ``x``, where that is no number.
        log: Whether the values are drawn by their logarithms.

    Raises:
        FigureError: If matplotlib is not installed.
    """
    figure, axes = _axes(across, up)
    for name, values in series.items():
        (line,) = axes.plot(x, values, marker=".", label=name)
        last = f" {name}: {values[-1]:.2f}"
        axes.annotate(last, (x[-1], values[-1]), color=line.get_color(), va="center", fontsize=8)
    if places is not None:
        axes.set_xticks(x, places)
    axes.set_yscale("log" if log else "linear")
    axes.margins(x=0.16)
    figure.savefig(path, dpi=120)


def curves(
    path: Path, series: Mapping[str, Sequence[tuple[float, float]]], *, across: str, up: str
) -> None:
    """Draw curves through points (x, y) of their own, by matplotlib; as ``lines`` otherwise."""
    figure, axes = _axes(across, up)
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker=".", label=name)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def _axes(across: str, up: str) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise FigureError(
            "figures are drawn by matplotlib: pip install 'diffprior[figures]'"
        ) from None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    return figure, axes
