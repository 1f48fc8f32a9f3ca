"""Certification: how far the samples of each method are from exact posteriors."""

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from .. import catalog, metrics
from ..errors import RunError, SettingError
from ..io import documents
from ..io.ledger import Ledger, Row
from ..priors.counted import CountedPrior
from ..random import Noise
from ..validation import Checked, Measured, Whole, Within, from_file, literal, shown
from .certificates import report
from .exact_problems import ExactProblem, FieldProblem, MixtureProblem, field, mixture

__all__ = ["CELLS", "CERTIFIED", "METHODS", "QUICK", "Effort", "certify", "measure", "sliced"]

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
    "tilt",
    "score_sde",
    "ald",
    "daps(steps=50, var=1.0)",
    "pnp_dm(steps=40, rho=(100.0, 0.3), anneal=0.8)",
)
CERTIFIED = {METHODS[0]: 80, METHODS[1]: 800}  # exact up to so many dimensions
REFERENCES = ("floor", "prior")
MEASURES = ("sliced", "modes", "coverage", "rank", "mean", "variance")
LARGEST = 2000  # dimension of a problem: its matrix is decomposed
FIELDS = ("problem", "seed", "method", *MEASURES, "calls", "gradients", "seconds")


@dataclass(frozen=True, kw_only=True)
class Effort(Checked):
    """How much work a certification is.

    Arguments:
        seeds: Problems of each cell.
        few: Problems of each cell for methods that ``CERTIFIED`` does not list for it; by default
            as many as for the others.
        n: Samples of each problem.
        jobs: Processes that share the work; each uses its part of the threads.
    """

    seeds: Annotated[int, Within(1, 10_000)] = 20
    few: Annotated[int, Within(1, 10_000)] | None = None
    n: Annotated[int, Within(2, 1_000_000)] = 1000
    jobs: Annotated[int, Within(1, 256)] = 1

    def problems(self, cell: str, method: str) -> int:
        """Return the number of problems of a method on a cell."""
        few = self.seeds if self.few is None else min(self.few, self.seeds)
        dimension = math.inf if cell == "field" else int(cell.split(",")[0])
        exact = method in REFERENCES or dimension <= CERTIFIED.get(method, 0)
        count = self.seeds if exact else few
        return max(count // 10, 1) if cell == "field" else count


def certify(
    out: Path,
    methods: Sequence[str] = METHODS,
    cells: Sequence[str] = CELLS,
    effort: Effort = Effort(),  # noqa: B008 (frozen)
    say: Callable[[str], None] = print,
) -> list[Row]:
    """Run methods on problems with exact posteriors; return the rows.

    The rows are kept in ``out/rows.csv``: a run that was stopped goes on where it was.
    ``table.md``, ``table.csv`` and ``figure.png`` (by matplotlib, if it is installed) are written
    anew.

    Arguments:
        out: Folder of the rows, the tables and the figure.
        methods: Texts for ``catalog.build``.
        cells: "d,dy" for mixtures in d dimensions with dy measured numbers, "field" for a Gaussian
            field, which has a tenth of the problems and of the samples.
        effort: How many problems and samples.
        say: Receives one line for each row, then the tables.

    Raises:
        SettingError: If a method or a cell does not exist, the folder cannot be written, or another
            run is writing to it.
        RunError: If a row failed; the others are done, and the same call tries it again.
    """
    methods = _without_duplicates(methods)
    cells = _without_duplicates(cells)
    _check(methods, cells)
    failures = 0
    with documents.locked(out / ".rows.lock"):
        ledger = Ledger(out / "rows.csv", FIELDS, 3, _check_row)
        todo = [item for item in _plan(cells, methods, effort) if item not in ledger]
        for row in _rows(todo, effort):
            if isinstance(row, str):
                failures += 1
                say(row)
            else:
                ledger.add(row)
                say(", ".join(f"{k} {v}" for k, v in row.items() if v != ""))
        rows = sorted(ledger.rows, key=lambda row: _order(row, cells, methods))
        report(out, rows, say)
    if failures:
        raise RunError(f"{failures} of {len(todo)} rows failed; the same command tries them again")
    return rows


def _check(methods: Sequence[str], cells: Sequence[str]) -> None:
    """Refuse what cannot be run before any work is done."""
    for cell in cells:
        if not _is_cell(cell):
            raise SettingError(
                f"no cell {literal(cell, 40)}; write d,dy with an even d from 2 to {LARGEST} "
                "and dy from 1 to d, or field"
            )
    for name in methods:
        if not name.isprintable():
            raise SettingError(f"a method is one line of text, got {literal(name, 100)}")
        catalog.build(name, ("methods",))


def _is_cell(cell: str) -> bool:
    match = re.fullmatch(r"([1-9][0-9]{0,4}),([1-9][0-9]{0,4})", cell)
    if match is None:
        return cell == "field"
    d, dy = map(int, match.groups())
    return d % 2 == 0 and d <= LARGEST and dy <= d


@dataclass(frozen=True, kw_only=True)
class _Row(Checked):
    """The fields of a row of ``rows.csv``; a method that refuses a problem has no numbers."""

    problem: str
    seed: Whole
    method: str
    sliced: Measured | None
    modes: Measured | None
    coverage: Measured | None
    rank: Measured | None
    mean: Measured | None
    variance: Measured | None
    calls: Measured | None
    gradients: Measured | None
    seconds: Measured | None


def _check_row(row: Row) -> None:
    """Raise a ``ValueError`` for what is no row of a certification."""
    own = {name: row.get(name, "") for name in FIELDS}
    measured = {k: float(v) if v else None for k, v in own.items() if k not in FIELDS[:3]}
    from_file(_Row, own | measured | {"seed": int(own["seed"])}, "a row")


def _without_duplicates(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _plan(
    cells: Sequence[str], methods: Sequence[str], effort: Effort
) -> Iterator[tuple[str, int, str]]:
    """Yield the cell, the seed and the method of each row."""
    for cell in cells:
        for name in (*REFERENCES, *methods):
            for seed in range(effort.problems(cell, name)):
                yield cell, seed, name


def _order(row: Row, cells: Sequence[str], methods: Sequence[str]) -> tuple[int, int, int]:
    """Return where a row belongs in the tables, whichever process wrote it first."""
    problems = [*CELLS, *cells]
    names = [*REFERENCES, *METHODS, *methods]
    problem, name = row["problem"], row["method"]
    return (
        problems.index(problem) if problem in problems else len(problems),
        names.index(name) if name in names else len(names),
        int(row["seed"]),
    )


def _rows(todo: Sequence[tuple[str, int, str]], effort: Effort) -> Iterator[Row | str]:
    """Yield the rows of the work that is left, as they come; a text for one that failed."""
    n = effort.n
    jobs = min(effort.jobs, len(todo))
    if jobs <= 1:
        yield from (_attempt(*item, n) for item in todo)
        return
    threads = max(1, torch.get_num_threads() // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        waiting = {pool.submit(_attempt, *item, n): item for item in todo}
        for done in as_completed(waiting):
            yield _result(done, waiting[done])


def _result(done: Future[Row | str], item: tuple[str, int, str]) -> Row | str:
    """Return the row of a process, or that the process ended before."""
    try:
        return done.result()
    except BrokenExecutor:
        return _failure(*item, "its process ended; the memory may be too small for so many jobs")


def _attempt(cell: str, seed: int, name: str, n: int) -> Row | str:
    """Return the row of one method on one problem, or why it failed."""
    try:
        return _row(cell, seed, name, n)
    except Exception as error:  # must not stop the others
        return _failure(cell, seed, name, str(error) or type(error).__name__)


def _failure(cell: str, seed: int, name: str, reason: str) -> str:
    return f"problem {cell}, seed {seed}, method {name} failed: {shown(reason, 200)}"


def _row(cell: str, seed: int, name: str, n: int) -> Row:
    """Return the row of one method on one problem; without numbers if it refuses the problem."""
    problem = _problem(cell, seed)
    n = max(n // 10, 2) if cell == "field" else n
    prior = CountedPrior(problem.prior)
    start = time.perf_counter()
    row: Row = dict.fromkeys(FIELDS, "")
    row |= {"problem": cell, "seed": seed, "method": name}
    try:
        if name in REFERENCES:
            sample = problem.sample_posterior if name == "floor" else problem.sample_prior
            x = sample(Noise(seed, [f"{name} {cell}"], n))
        else:
            x = catalog.build(name, ("methods",))(prior, problem.likelihood, n=n, seed=seed)
    except (TypeError, ValueError):
        return row
    seconds = time.perf_counter() - start
    row |= {k: f"{v:.4g}" for k, v in measure(problem, x, seed, cell).items()}
    row |= {"calls": prior.count["calls"] // n, "gradients": prior.count["vjps"] // n}
    return row | {"seconds": f"{seconds:.3g}"}


def _problem(cell: str, seed: int) -> ExactProblem:
    if cell == "field":
        return field(64, seed)
    d, dy = map(int, cell.split(","))
    return mixture(d, dy, seed)


# Measures


def measure(problem: ExactProblem, x: Tensor, seed: int = 0, cell: str = "") -> dict[str, float]:
    """Return how far samples are from the exact posterior of a problem.

    Arguments:
        problem: Problem with an exact posterior.
        x: Samples, of shape ``(n, *shape)``.
        seed: Seed of the exact samples that they are compared with.
        cell: Name that enters this seed too, and selects the direction of the rank. Errors do not
            average out over problems that share both.
    """
    exact = problem.sample_posterior(Noise(seed, [f"exact {cell}"], len(x)))
    u = directions(x[0].numel(), 1000).to(x)
    projections = x.flatten(1) @ u
    truth = problem.truth.flatten(1) @ u
    direction = sum(map(ord, cell)) % u.shape[1]
    below = projections[:, direction] < truth[0, direction]
    values = {
        "sliced": sliced(x, exact),
        "coverage": float(metrics.coverage(projections[:, None], truth)),
        "rank": float(below.double().mean()),
    }
    if isinstance(problem, MixtureProblem):
        nearest = torch.cdist(x, problem.prior.means).argmin(1)
        share = torch.bincount(nearest, minlength=len(problem.weights)) / len(x)
        values["modes"] = float((share - problem.weights).abs().sum() / 2)
    if isinstance(problem, FieldProblem):
        error = (x.mean(0) - problem.mean[0]) / problem.var.sqrt()
        values["mean"] = float(error.square().mean().sqrt())
        values["variance"] = float(x.var(0).mean() / problem.var)
    return values


def sliced(x: Tensor, reference: Tensor, count: int = 1000) -> float:
    """Return the sliced 2-Wasserstein distance of two sets of the same number of states.

    It is the root of the mean square over ``count`` random directions, which are the same for each
    dimension. "Wasserstein Barycenter and its Application to Texture Mixing" (Rabin et al., 2011),
    https://doi.org/10.1007/978-3-642-24785-9_37.
    """
    u = directions(x[0].numel(), count).to(x)
    a, b = ((z.flatten(1) @ u).sort(0).values for z in (x, reference))
    return float((a - b).square().mean().sqrt())


def directions(d: int, count: int) -> Tensor:
    """Return random unit vectors as columns, of shape ``(d, count)``."""
    u = torch.randn(d, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.normalize(u, dim=0)
