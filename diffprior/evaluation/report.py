"""Reports of a benchmark: means with their errors as markdown and csv, images in one page."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from torch import Tensor

from ..io import files
from ..operators.base import LinearOperator
from . import html, recipes
from .datasets import Item, likelihood
from .recipes import Problem, Recipe
from .scores import ALWAYS, COLUMNS, COSTS, Line, lines, rows

__all__ = ["markdown", "table", "web", "write"]

Row = dict[str, Any]
SHOWN = 6  # images a problem on the page
GAIN = 4  # of errors, to be seen


def write(
    out: Path, items: Sequence[Item], methods: Sequence[str], settings: Mapping[str, Any]
) -> list[Row]:
    """Write ``table.md``, ``table.csv`` and ``report.html``; return the rows that they tell of.

    They are written again where another process has added rows meanwhile.
    """
    plan, place = recipes.read(items[0].folder / "recipe.toml"), {i.id: i for i in items}
    while True:
        now = rows(out)
        order = {m: k for k, m in enumerate(dict.fromkeys([*methods, *(r["method"] for r in now)]))}
        known = [r for r in now if _current(r, place)]
        index = {key: k for k, key in enumerate(place)}
        known.sort(key=lambda r: (index[r["id"]], order[r["method"]]))
        found = lines(known, plan, items)
        text = preface(plan, items, known, settings)
        told = {
            "table.md": markdown(found, plan, text),
            "table.csv": table(found),
            "report.html": web(found, plan, text, items, known, out),
        }
        for name, content in told.items():
            files.write(content.encode(), out / name, force=True)
        if len(rows(out)) == len(now):
            return known


def _current(row: Row, place: Mapping[str, Item]) -> bool:
    item = place.get(row["id"])
    return item is not None and item.row["measurement_sha256"] == row["measurement_sha256"]


# Tables


def table(found: Sequence[Line]) -> str:
    """Return csv: a line each, with the means and their standard errors."""
    file = StringIO()
    heads = [name for key in COLUMNS for name in (key, f"{key}_error")]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["problem", "method", "kind", "n", *heads, "said"])
    for line in found:
        pairs = [line.values.get(key, (None, None)) for key in COLUMNS]
        cells = ["" if v is None else f"{v:.6g}" for pair in pairs for v in pair]
        writer.writerow([line.problem, line.method, line.kind, line.n, *cells, line.said])
    return file.getvalue()


def markdown(found: Sequence[Line], plan: Recipe, text: Sequence[str]) -> str:
    """Return a table a problem, with what stands behind its figures."""
    parts = [f"# {plan.title or plan.name}", *text]
    for problem, mine in _grouped(found, plan):
        parts += [f"## {problem.name}", problem.told()] + [problem.note] * bool(problem.note)
        shown = _summary(mine)
        cells = [shown.head, ["---"] * len(shown.head), *shown.rows]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in cells))
        parts += ["\n".join(f"- {note}" for note in notes)] if (notes := _notes(mine)) else []
    return "\n\n".join(parts) + "\n"


def preface(
    plan: Recipe, items: Sequence[Item], known: Sequence[Row], settings: Mapping[str, Any]
) -> list[str]:
    """Return what holds for all tables, a paragraph each."""
    count, n = len({i.row["picture"] for i in items}), settings["samples"]
    sizes = dict.fromkeys("x".join(map(str, i.row["shape"][1:])) for i in items)
    settled = {**settings, "prior_sha256": (settings["prior_sha256"] or "none")[:12]}
    told = [
        f"Recipe {items[0].row['recipe']}, {count} images of {', '.join(list(sizes)[:4])}; "
        + ", ".join(f"{k} {v}" for k, v in settled.items())
        + ". Means ± standard errors over the images.",
        "chi^2 is ||y - A x||^2 / (m sigma^2), about 1 for what explains y; residuals are root "
        "mean squares of y - A x, in the units of y; seconds are those of an image, network calls "
        "and gradients those of a sample.",
    ]
    told += list(dict.fromkeys(f"LPIPS: n/a. {r['no_lpips']}" for r in known if "no_lpips" in r))
    if n > 1:
        told.append(
            f"Coverage is that of the central 90% interval of {n} samples, which holds the truth "
            f"of exact samples about {0.9 * (n - 1) / (n + 1):.2f} of the time."
        )
    if plan.pictures:
        told.append(
            f"Published figures were reached on {plan.pictures}, with {plan.prior}; ours stand "
            "beside them, and compare only on those images and with that prior."
        )
    return [*told, plan.note] if plan.note else told


def _notes(mine: Sequence[Line]) -> list[str]:
    """Return why there are gaps, and the sources, numbered as by ``_label``."""
    gaps = [f"{line.method}: {line.said}" for line in mine if line.kind == "ours" and line.said]
    return gaps + [f"[{k + 1}] {said}" for k, said in enumerate(_sources(mine))]


def _sources(mine: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(line.said for line in mine if line.kind == "published"))


def columns_of(mine: Sequence[Line]) -> list[str]:
    """Return the columns that hold something, and those that never are left out."""
    return [c for c in COLUMNS if c in ALWAYS or any(c in line.values for line in mine)]


def _grouped(found: Sequence[Line], plan: Recipe) -> Iterator[tuple[Problem, list[Line]]]:
    for problem in plan.problems:
        if mine := [line for line in found if line.problem == problem.name]:
            yield problem, mine


def _label(line: Line, mine: Sequence[Line]) -> str:
    if line.kind == "ours":
        return line.method
    return f"{line.method}, published [{_sources(mine).index(line.said) + 1}]"


def _cell(line: Line, column: str) -> str:
    if column not in line.values:
        return "" if line.kind == "published" else "n/a"
    (mean, error), (_, form) = line.values[column], COLUMNS[column]
    return f"{mean:{form}}" + ("" if error is None or column in COSTS else f" ± {error:{form}}")


# The page


def web(
    found: Sequence[Line],
    plan: Recipe,
    text: Sequence[str],
    items: Sequence[Item],
    known: Sequence[Row],
    out: Path,
) -> str:
    """Return the tables, and the first ``SHOWN`` images of each problem, as one page."""
    sections = []
    for problem, mine in _grouped(found, plan):
        here = [r for r in known if r["problem"] == problem.name and r["status"] == "ok"]
        shown = [i for i in items if any(r["id"] == i.id for r in here)][:SHOWN]
        told = f"{len(shown)} images: the truth, what was measured, and what each method made of "
        told += f"it, beside {GAIN} times its error."
        section = html.Section(
            title=problem.name,
            text=[problem.told(), *[problem.note] * bool(problem.note)],
            tables=[_summary(mine), _single(here)],
            notes=[*_notes(mine), told],
            strips=[_strip(i, [r for r in here if r["id"] == i.id], out) for i in shown],
        )
        sections.append(section)
    return html.page(plan.title or plan.name, text, sections)


def _summary(mine: Sequence[Line]) -> html.Table:
    columns = columns_of(mine)
    return html.Table(
        head=["method", "n", *(COLUMNS[c][0] for c in columns)],
        rows=[[_label(x, mine), str(x.n or ""), *(_cell(x, c) for c in columns)] for x in mine],
        faint=[k for k, line in enumerate(mine) if line.kind == "published"],
    )


def _single(here: Sequence[Row]) -> html.Table:
    """Return the table of single images."""
    columns = [c for c in COLUMNS if any(r.get(c) is not None for r in here)]
    return html.Table(
        title="Image by image",
        head=["image and method", *(COLUMNS[c][0] for c in columns)],
        rows=[
            [f"{r['picture']}, {r['method']}"]
            + ["n/a" if r.get(c) is None else f"{r[c]:{COLUMNS[c][1]}}" for c in columns]
            for r in here
        ],
    )


def _strip(item: Item, here: Sequence[Row], out: Path) -> list[tuple[str, str]]:
    """Return the images of one item: truth, measurement, then every method with its error."""
    truth = item.truth()
    strip = [(html.source(truth), item.row["picture"]), (html.source(_seen(item)), "measured")]
    for row in here:
        x = files.read(out / row["restored"]).images.tensor()[0]
        told = f"{row['method']}: {row['psnr']:.2f} dB"
        strip += [(html.source(x), told), (html.source(GAIN * (x - truth)), "error")]
    return strip


def _seen(item: Item) -> Tensor:
    """Return y where it is an image, A^+ y where it is not."""
    given = likelihood([item])
    y = given.y
    if y.ndim != 4 or y.shape[1] not in (1, 3):
        y = given.operator.pinv(y) if isinstance(given.operator, LinearOperator) else y
    return y[0].expand(3, -1, -1)
