"""Certification: how far the samples of each method are from posteriors that are known."""

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import catalog, metrics
from ..errors import SettingError
from ..priors.counted import CountedPrior
from ..random import Noise
from .certificates import report
from .exact_problems import FieldProblem, MixtureProblem, Problem, field, mixture
from .ledger import Ledger, Row

__all__ = ["CELLS", "CERTIFIED", "METHODS", "certify", "measure", "sliced"]

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
CERTIFIED = {METHODS[0]: 80, METHODS[1]: 800}  # to be at the floor, up to so many dimensions
REFERENCES = ("floor", "prior")
MEASURES = ("sliced", "modes", "coverage", "rank", "mean", "variance")
FIELDS = ("problem", "seed", "method", *MEASURES, "calls", "gradients", "seconds")


def certify(
    out: Path,
    methods: Sequence[str] = METHODS,
    cells: Sequence[str] = CELLS,
    seeds: int = 20,
    n: int = 1000,
    say: Callable[[str], None] = print,
    *,
    few: int | None = None,
    jobs: int = 1,
) -> list[Row]:
    """Run the methods on the cells; return the rows, which are also kept in ``out/rows.csv``.

    A run that was stopped goes on where it was. ``table.md``, ``table.csv`` and ``figure.png``
    (by matplotlib, where it is installed) are written anew.

    Arguments:
        methods: Texts for ``catalog.build``.
        cells: "d,dy" for the mixtures, "field" for the field, of a tenth of the seeds
            and of the samples.
        seeds: Problems a cell.
        n: Samples a problem.
        few: Problems a cell for methods that are not to be at the floor there, by ``CERTIFIED``;
            ``seeds`` if not given.
        jobs: Processes that share the work; each has its part of the threads.
    """
    few, methods, cells = seeds if few is None else few, _once(methods), _once(cells)
    _demand(methods, cells, seeds, few, jobs)
    try:
        ledger = Ledger(out / "rows.csv", FIELDS, 3)
    except OSError as error:
        raise SettingError(f"{out} is no folder to write to: {error.strerror}") from error
    todo = [item for item in _plan(cells, methods, seeds, few) if item not in ledger]
    for row in _rows(todo, n, jobs):
        ledger.add(row)
        say(", ".join(f"{k} {v}" for k, v in row.items() if v != ""))
    rows = sorted(ledger.rows, key=lambda r: _place(r, cells, methods))
    report(out, rows, say)
    return rows


def _demand(methods: Sequence[str], cells: Sequence[str], seeds: int, few: int, jobs: int) -> None:
    """Refuse what cannot be run before any work is done."""
    for cell in cells:
        if not re.fullmatch(r"\d*[02468],\d+|field", cell):
            raise SettingError(f"no cell {cell!r}; write d,dy with an even d, or field")
    if min(seeds, few, jobs) < 1:
        raise SettingError(
            f"seeds, few and jobs are each at least 1, got {seeds}, {few} and {jobs}"
        )
    for name in methods:
        catalog.build(name, ("methods",))


def _once(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _plan(
    cells: Sequence[str], methods: Sequence[str], seeds: int, few: int
) -> Iterator[tuple[str, int, str]]:
    for cell in cells:
        d = math.inf if cell == "field" else int(cell.split(",")[0])
        for name in (*REFERENCES, *methods):
            count = seeds if name in REFERENCES or d <= CERTIFIED.get(name, 0) else min(few, seeds)
            for seed in range(max(count // 10, 1) if cell == "field" else count):
                yield cell, seed, name


def _place(row: Row, cells: Sequence[str], methods: Sequence[str]) -> tuple[int, int, int]:
    """Return where a row belongs in the tables, whatever process came first."""
    known = list(CELLS) + list(cells), [*REFERENCES, *METHODS, *methods]
    at = known[0].index(row["problem"]) if row["problem"] in known[0] else len(known[0])
    how = known[1].index(row["method"]) if row["method"] in known[1] else len(known[1])
    return at, how, int(row["seed"])


def _rows(todo: Sequence[tuple[str, int, str]], n: int, jobs: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of what is to be done, as they come."""
    if jobs == 1:
        yield from (_row(*item, n) for item in todo)
        return
    threads = max(1, torch.get_num_threads() // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        for done in as_completed([pool.submit(_row, *item, n) for item in todo]):
            yield done.result()


def _row(cell: str, seed: int, name: str, n: int) -> dict[str, Any]:
    """Return the row of one method on one problem; without numbers where it refuses it."""
    problem = _problem(cell, seed)
    n = max(n // 10, 2) if cell == "field" else n
    prior, start = CountedPrior(problem.prior), time.perf_counter()
    row: dict[str, Any] = dict.fromkeys(FIELDS, "") | {
        "problem": cell,
        "seed": seed,
        "method": name,
    }
    try:
        if name in REFERENCES:
            source = problem.draw if name == "floor" else problem.free
            x = source(Noise(seed, [f"{name} {cell}"], n))
        else:
            x = catalog.build(name, ("methods",))(prior, problem.likelihood, n=n, seed=seed)
    except (TypeError, ValueError):
        return row
    seconds = time.perf_counter() - start
    row |= {k: f"{v:.4g}" for k, v in measure(problem, x, seed, cell).items()}
    row |= {"calls": prior.count["calls"] // n, "gradients": prior.count["vjps"] // n}
    return row | {"seconds": f"{seconds:.3g}"}


def _problem(cell: str, seed: int) -> Problem:
    if cell == "field":
        return field(64, seed)
    d, dy = map(int, cell.split(","))
    return mixture(d, dy, seed)


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
