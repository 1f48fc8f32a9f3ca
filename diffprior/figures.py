"""Figures of measured curves, by matplotlib, which is an extra."""

from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["FigureError", "lines"]


class FigureError(RuntimeError):
    """A figure that cannot be drawn here, in one sentence."""


def lines(
    path: Path, x: Sequence[float], series: Mapping[str, Sequence[float]], *, across: str, up: str
) -> None:
    """Draw series over one axis, each with its name and its last value, as a picture.

    Arguments:
        path: Where to; the suffix says the format, as in ``curve.png`` or ``curve.svg``.
        x: Places on the axis.
        series: Values at those places, by name.
        across, up: Names of the two axes, with their units.

    Raises:
        FigureError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise FigureError(
            "figures are drawn by matplotlib: pip install 'diffprior[figures]'"
        ) from None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, values in series.items():
        (line,) = axes.plot(x, values, marker=".", label=name)
        last = f" {name}: {values[-1]:.2f}"
        axes.annotate(last, (x[-1], values[-1]), color=line.get_color(), va="center", fontsize=8)
    axes.set(xlabel=across, ylabel=up)
    axes.margins(x=0.16)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
