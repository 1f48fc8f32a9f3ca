"""Certification: how far the samples of each method are from posteriors that are known."""

import csv
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import catalog, figures, metrics
from .methods.base import Method
from .priors.base import Prior, Wrapper
from .problems import FieldProblem, MixtureProblem, Problem, field, mixture
from .random import Noise

__all__ = ["CELLS", "METHODS", "certify", "markdown", "measure", "sliced", "uniformity"]

CELLS = ("8,1", "8,2", "8,4", "80,1", "80,2", "80,4", "800,1", "800,2", "800,4", "field")
QUICK = ("8,1", "8,2", "8,4", "field")
METHODS = (
    "moment_smc",
    "moment_smc(particles=1)",
    "mcgdiff",
    "fps(steps=100)",
    "mmps(iterations=4)",
    "pigdm(var=64.0)",
    "tmpd",
    "ddrm(sampler=ancestral(steps=100))",
    "ddnm",
    "diffpir",
    "dps",
    "daps(steps=50, var=1.0)",
    "pnp_dm(steps=40, rho=(100.0, 0.3), anneal=0.8)",
)
REFERENCES = ("floor", "prior")
MEASURES = ("sliced", "modes", "coverage", "rank", "mean", "variance")
FIELDS = ("problem", "seed", "method", *MEASURES, "calls", "gradients", "seconds")
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
Row = dict[str, str]


def certify(
    out: Path,
    methods: Sequence[str] = METHODS,
    cells: Sequence[str] = CELLS,
    seeds: int = 20,
    n: int = 1000,
    say: Callable[[str], None] = print,
) -> list[Row]:
    """Run the methods on the cells; return the rows, which are also kept in ``out/rows.csv``.

    A run that was stopped goes on where it was. ``table.md``, ``table.csv`` and ``figure.png``
    (by matplotlib, where it is installed) are written anew.

    Arguments:
        methods: Texts for ``catalog.build``.
        cells: "d,dy" for the mixtures, "field" for the field, of a tenth of the seeds
            and of the samples.
        n: Samples a problem.
    """
    for cell in cells:
        if not re.fullmatch(r"\d*[02468],\d+|field", cell):
            raise catalog.CatalogError(f"no cell {cell!r}; write d,dy with an even d, or field")
    if seeds < 1:
        raise catalog.SettingError(f"the number of seeds is at least 1, got {seeds}")
    built: dict[str, Any] = {name: catalog.build(name, ("methods",)) for name in methods}
    out.mkdir(parents=True, exist_ok=True)
    path = out / "rows.csv"
    rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    done = {(r["problem"], r["seed"], r["method"]) for r in rows}
    with path.open("a", newline="", buffering=1) as file:
        writer = csv.DictWriter(file, FIELDS)
        if not rows:
            writer.writeheader()
        for cell, seed, name in _plan(cells, [*REFERENCES, *built], seeds):
            if (cell, str(seed), name) not in done:
                row = _row(cell, seed, name, built.get(name), n)
                writer.writerow(row)
                rows.append({k: str(v) for k, v in row.items()})
                say(", ".join(f"{k} {v}" for k, v in row.items() if v != ""))
    report(out, rows, say)
    return rows


def _plan(cells: Sequence[str], names: Sequence[str], seeds: int) -> Iterable[tuple[str, int, str]]:
    for cell in cells:
        for name in names:
            for seed in range(max(seeds // 10, 1) if cell == "field" else seeds):
                yield cell, seed, name


def _row(cell: str, seed: int, name: str, method: Method[Any] | None, n: int) -> dict[str, Any]:
    """Return the row of one method on one problem; without numbers where it refuses it."""
    problem = _problem(cell, seed)
    n = max(n // 10, 2) if cell == "field" else n
    prior, start = Counted(problem.prior), time.perf_counter()
    row: dict[str, Any] = dict.fromkeys(FIELDS, "") | {
        "problem": cell,
        "seed": seed,
        "method": name,
    }
    try:
        if method is None:
            source = problem.draw if name == "floor" else problem.free
            x = source(Noise(seed, [f"{name} {cell}"], n))
        else:
            x = method(prior, problem.likelihood, n=n, seed=seed)
    except (TypeError, ValueError):
        return row
    seconds = time.perf_counter() - start
    row |= {k: f"{v:.4g}" for k, v in measure(problem, x, seed, cell).items()}
    row |= {"calls": prior.calls // n, "gradients": prior.gradients // n}
    return row | {"seconds": f"{seconds:.3g}"}


def _problem(cell: str, seed: int) -> Problem:
    if cell == "field":
        return field(64, seed)
    d, dy = map(int, cell.split(","))
    return mixture(d, dy, seed)


class Counted(Wrapper):
    """A prior that counts what each of its rows was asked."""

    def __init__(self, inner: Prior) -> None:
        super().__init__(inner)
        self.calls = self.gradients = 0

    def rewrap(self, inner: Prior) -> "Counted":
        return Counted(inner)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.calls += len(x_t)
        x_0: Tensor = self.inner(x_t, t)
        if x_0.requires_grad:
            x_0.register_hook(self._look_back)  # type: ignore[no-untyped-call]
        return x_0

    def _look_back(self, v: Tensor) -> None:
        self.gradients += len(v)


# Measures


def measure(problem: Problem, x: Tensor, seed: int = 0, cell: str = "") -> dict[str, float]:
    """Return what can be said of samples ``(n, *shape)`` of a problem's posterior.

    Arguments:
        seed, cell: Say which exact draws they are held against, and ``cell`` which direction is
            ranked: with the same ones for all problems, errors would not average out.
    """
    exact = problem.draw(Noise(seed, [f"exact {cell}"], len(x)))
    u = directions(x[0].numel(), 1000).to(x)
    along, truth = x.flatten(1) @ u, problem.truth.flatten(1) @ u
    first = sum(map(ord, cell)) % u.shape[1]
    found = {
        "sliced": sliced(x, exact),
        "coverage": float(metrics.coverage(along[:, None], truth)),
        "rank": float((along[:, first] < truth[0, first]).double().mean()),
    }
    if isinstance(problem, MixtureProblem):
        nearest = torch.cdist(x, problem.prior.means).argmin(1)
        share = torch.bincount(nearest, minlength=len(problem.weights)) / len(x)
        found["modes"] = float((share - problem.weights).abs().sum() / 2)
    if isinstance(problem, FieldProblem):
        error = (x.mean(0) - problem.mean[0]) / problem.var.sqrt()
        found["mean"] = float(error.square().mean().sqrt())
        found["variance"] = float(x.var(0).mean() / problem.var)
    return found


def sliced(x: Tensor, reference: Tensor, count: int = 1000) -> float:
    """Return the sliced 2-Wasserstein distance of two sets of equally many states.

    The root of the mean square over ``count`` directions, the same ones for each dimension:
    those of seed 0. "Wasserstein Barycenter and its Application to Texture Mixing" (Rabin et al.,
    2011), https://doi.org/10.1007/978-3-642-24785-9_37.
    """
    u = directions(x[0].numel(), count).to(x)
    a, b = ((z.flatten(1) @ u).sort(0).values for z in (x, reference))
    return float((a - b).square().mean().sqrt())


def directions(d: int, count: int) -> Tensor:
    """Return random directions, of shape ``(d, count)``."""
    u = torch.randn(d, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.normalize(u, dim=0)


def uniformity(ranks: Sequence[float], bins: int = 10) -> float:
    """Return the p-value of a chi^2 test that ranks in [0, 1] are uniform.

    Those of truths among exact posterior draws are: "Validating Bayesian Inference Algorithms with
    Simulation-Based Calibration" (Talts et al., 2018), https://arxiv.org/abs/1804.06788.
    """
    counts = torch.histc(torch.tensor(ranks, dtype=torch.float64), bins, 0, 1)
    chi2 = ((counts - len(ranks) / bins) ** 2 / (len(ranks) / bins)).sum()
    return float(torch.special.gammaincc(torch.tensor((bins - 1) / 2).double(), chi2 / 2))


# Tables


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
    except figures.FigureError as error:
        say(str(error))


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw the distances over their floors, cell by cell."""
    cells = [c for c in _once(rows, "problem") if c != "field"]
    floor = [_mean(rows, "sliced", c, "floor") or 1 for c in cells]
    names = [m for m in _once(rows, "method") if all(_mean(rows, "sliced", c, m) for c in cells)]
    series = {
        m: [(_mean(rows, "sliced", c, m) or 0) / f for c, f in zip(cells, floor, strict=True)]
        for m in names
    }
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
            value, floor = (_mean(rows, key, cell, m) for m in (name, "floor"))
            line.append("" if value is None else f"{value:.3g}")
            if key == "sliced" and value is not None and floor and name != "floor":
                line[-1] += f" ({value / floor:.2f}x)"
        lines.append(line)
    return lines


def _once(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(r[key] for r in rows))


def _mean(rows: Sequence[Row], key: str, cell: str, name: str) -> float | None:
    here = [r[key] for r in rows if (r["problem"], r["method"]) == (cell, name)]
    values = [float(v) for v in here if v]
    return sum(values) / len(values) if values else None


def _ranks(rows: Sequence[Row]) -> dict[str, str]:
    found = {}
    for name in _once(rows, "method"):
        ranks = [float(r["rank"]) for r in rows if r["method"] == name and r["rank"]]
        if name != "prior" and ranks:
            found[name] = f"{uniformity(ranks):.3g} ({len(ranks)} problems)"
    return found
