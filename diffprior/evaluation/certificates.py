"""The tables and the figure of a certification, from its rows."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..errors import FigureError
from . import figures
from .ledger import Row

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
    text = markdown(rows)
    (out / "table.md").write_text(text)
    say(text)
    with (out / "table.csv").open("w", newline="") as file:
        for key in TITLES:
            csv.writer(file).writerows([key, *line] for line in table(rows, key))
    try:
        draw(out / "figure.png", rows)
    except FigureError as error:
        say(str(error))


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw the distances over their floors, cell by cell."""
    cells = [c for c in _once(rows, "problem") if c != "field"]
    found = {m: [_multiple(rows, c, m) for c in cells] for m in _once(rows, "method")}
    series = {m: [v for v in values if v] for m, values in found.items() if all(values)}
    if cells:
        figures.lines(
            path,
            range(len(cells)),
            series,
            across="d, dy",
            up="sliced W2 over that of two exact samples",
            places=cells,
            log=True,
        )


def markdown(rows: Sequence[Row]) -> str:
    """Return a table a measure, methods down and problems across: means over the seeds."""
    parts = []
    for key, title in TITLES.items():
        head, *body = table(rows, key)
        if len(head) > 1:
            lines = [head, ["---"] * len(head), *body]
            parts.append(f"### {title}\n\n" + "\n".join(f"| {' | '.join(r)} |" for r in lines))
    ranks = [f"- {m}: {p}" for m, p in _ranks(rows).items()]
    parts.append("### Uniformity of the ranks of the truth: p-value\n\n" + "\n".join(ranks))
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Row], key: str) -> list[list[str]]:
    """Return the head and the lines of one measure; beside sliced W2, its multiple of the floor."""
    cells = [c for c in _once(rows, "problem") if any(r[key] for r in rows if r["problem"] == c)]
    lines = [["", *cells]]
    for name in _once(rows, "method"):
        line = [name]
        for cell in cells:
            value, multiple = _mean(rows, key, cell, name), _multiple(rows, cell, name)
            line.append("" if value is None else f"{value:.3g}")
            if key == "sliced" and multiple and name != "floor":
                line[-1] += f" ({multiple:.2f}x)"
        lines.append(line)
    return lines


def _once(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(r[key] for r in rows))


def _mean(rows: Sequence[Row], key: str, cell: str, name: str) -> float | None:
    here = [r[key] for r in rows if (r["problem"], r["method"]) == (cell, name)]
    values = [float(v) for v in here if v]
    return sum(values) / len(values) if values else None


def _multiple(rows: Sequence[Row], cell: str, name: str) -> float | None:
    """Return the distance over the floor, that of the very problems that the method was run on."""
    found = {
        who: {
            r["seed"]: float(r["sliced"])
            for r in rows
            if (r["problem"], r["method"]) == (cell, who) and r["sliced"]
        }
        for who in (name, "floor")
    }
    floor = sum(v for seed, v in found["floor"].items() if seed in found[name])
    return sum(found[name].values()) / floor if floor else None


def _ranks(rows: Sequence[Row]) -> dict[str, str]:
    found = {}
    for name in _once(rows, "method"):
        ranks = [float(r["rank"]) for r in rows if r["method"] == name and r["rank"]]
        if name != "prior" and ranks:
            found[name] = f"{uniformity(ranks):.3g} ({len(ranks)} problems)"
    return found


def uniformity(ranks: Sequence[float], bins: int = 10) -> float:
    """Return the p-value of a chi^2 test that ranks in [0, 1] are uniform.

    Those of truths among exact posterior draws are: "Validating Bayesian Inference Algorithms with
    Simulation-Based Calibration" (Talts et al., 2018), https://arxiv.org/abs/1804.06788.
    """
    counts = torch.histc(torch.tensor(ranks, dtype=torch.float64), bins, 0, 1)
    chi2 = ((counts - len(ranks) / bins) ** 2 / (len(ranks) / bins)).sum()
    return float(torch.special.gammaincc(torch.tensor((bins - 1) / 2).double(), chi2 / 2))
