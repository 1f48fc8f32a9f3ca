"""The tables and the figure of a certification, from its rows."""

import csv
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

import torch

from ..errors import FigureError
from ..io import documents, figures
from ..io.ledger import Row
from . import tables
from .tables import numbers, unique

__all__ = ["markdown", "report", "table", "uniformity"]

TITLES = {
    "sliced": "Sliced W2 to exact draws",
    "modes": "Total variation of the weights of the modes",
    "coverage": "Coverage of the 90% interval",
    "mean": "Error of the mean, in posterior deviations",
    "variance": "Variance over the exact variance",
    "calls": "Network calls a sample",
    "gradients": "Vector-Jacobian products a sample",
    "seconds": "Seconds a problem",
}


def report(out: Path, rows: Sequence[Row], say: Callable[[str], None] = print) -> None:
    """Write ``table.md``, ``table.csv`` and ``figure.png`` from the rows."""
    text = tables.plain(markdown(rows))
    documents.write(text.encode(), out / "table.md")
    say(text)
    file = StringIO()
    for key in TITLES:
        csv.writer(file).writerows([key, *line] for line in table(rows, key))
    documents.write(file.getvalue().encode(), out / "table.csv")
    try:
        draw(out / "figure.png", rows)
    except FigureError as error:
        say(str(error))


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw the distance of each method, over that of two exact samples, for each cell."""
    cells = [cell for cell in unique(rows, "problem") if cell != "field"]
    ratios = {m: [_ratio(rows, c, m) for c in cells] for m in unique(rows, "method")}
    series = {m: [v for v in values if v] for m, values in ratios.items() if all(values)}
    if cells:
        axes = "d, dy", "sliced W2 over that of two exact samples"
        figures.lines(path, range(len(cells)), series, axes=axes, ticks=cells, log=True)


def markdown(rows: Sequence[Row]) -> str:
    """Return a table for each measure, methods down and problems across: means over the seeds."""
    parts = []
    for key, title in TITLES.items():
        head, *body = table(rows, key)
        if len(head) > 1:
            parts.append(f"### {title}\n\n{tables.markdown(head, body)}")
    ranks = [f"- {method}: {p}" for method, p in _uniformities(rows).items()]
    parts.append("### Uniformity of the ranks of the truth: p-value\n\n" + "\n".join(ranks))
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Row], key: str) -> list[list[str]]:
    """Return the head and the lines of one measure.

    Sliced W2 is followed by its ratio to the floor, the distance of two exact samples.
    """
    problems = unique(rows, "problem")
    cells = [c for c in problems if any(r[key] for r in rows if r["problem"] == c)]
    lines = [["", *cells]]
    for name in unique(rows, "method"):
        line = [name]
        for cell in cells:
            own = [r for r in rows if (r["problem"], r["method"]) == (cell, name)]
            ratio = _ratio(rows, cell, name)
            line.append(f"{tables.mean(own, key):.3g}" if numbers(own, key) else "")
            if key == "sliced" and ratio and name != "floor":
                line[-1] += f" ({ratio:.2f}x)"
        lines.append(line)
    return lines


def _ratio(rows: Sequence[Row], cell: str, name: str) -> float | None:
    """Return the distance over the floor, on the problems that the method was run on."""
    distances = {
        method: {
            r["seed"]: float(r["sliced"])
            for r in rows
            if (r["problem"], r["method"]) == (cell, method) and r["sliced"]
        }
        for method in (name, "floor")
    }
    floor = sum(v for seed, v in distances["floor"].items() if seed in distances[name])
    return sum(distances[name].values()) / floor if floor else None


def _uniformities(rows: Sequence[Row]) -> dict[str, str]:
    """Return the p-value of each method that has ranks, with the number of problems."""
    values = {}
    for name in unique(rows, "method"):
        ranks = numbers([r for r in rows if r["method"] == name], "rank")
        if name != "prior" and ranks:
            values[name] = f"{uniformity(ranks):.3g} ({len(ranks)} problems)"
    return values


def uniformity(ranks: Sequence[float], bins: int = 10) -> float:
    """Return the p-value of a chi^2 test that ranks in [0, 1] are uniform.

    The ranks of truths among exact posterior samples are uniform: "Validating Bayesian Inference
    Algorithms with Simulation-Based Calibration" (Talts et al., 2018),
    https://arxiv.org/abs/1804.06788.
    """
    counts = torch.histc(torch.tensor(ranks, dtype=torch.float64), bins, 0, 1)
    chi2 = ((counts - len(ranks) / bins) ** 2 / (len(ranks) / bins)).sum()
    return float(torch.special.gammaincc(torch.tensor((bins - 1) / 2).double(), chi2 / 2))
