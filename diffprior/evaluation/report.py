"""Reports of a benchmark: means with their errors as markdown and CSV, and images on one page."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

from torch import Tensor

from ..io import documents, files
from ..io.ledger import Row
from ..operators.base import LinearOperator
from ..validation import shown
from . import html, recipes, tables
from .datasets import Item, likelihood
from .recipes import BenchmarkRecipe, Degradation
from .scores import ALWAYS, COLUMNS, COSTS, Line, lines, rows

__all__ = ["Report", "csv_table", "markdown", "restored", "web", "write"]

SHOWN = 6  # images of each degradation on the page
GAIN = 4  # factor of the errors on the page, so that they can be seen


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report is written from.

    Arguments:
        plan: Recipe of the dataset.
        items: Items of the dataset.
        rows: Rows of the benchmark, in the order of the items.
        lines: Means of the rows, and the published results.
        preface: Paragraphs that hold for all tables.
        out: Folder of the benchmark.
    """

    plan: BenchmarkRecipe
    items: Sequence[Item]
    rows: Sequence[Row]
    lines: Sequence[Line]
    preface: Sequence[str]
    out: Path

    @property
    def title(self) -> str:
        """Title of the recipe, or its name."""
        return self.plan.title or self.plan.name

    def problems(self) -> Iterator[tuple[Degradation, list[Line]]]:
        """Yield each degradation that has results, with its lines."""
        for problem in self.plan.problems:
            if own := [line for line in self.lines if line.problem == problem.name]:
                yield problem, own


def restored(id: str, method: str) -> str:
    """Return the name of the restored image of an item, below the folder of the benchmark."""
    digest = sha256(method.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    slug = re.sub(r"[^\w.-]+", "_", method)[:40] + "-" + digest
    return f"images/{slug}/{id}.png"


def write(
    out: Path, items: Sequence[Item], methods: Sequence[str], settings: Mapping[str, Any]
) -> list[Row]:
    """Write ``table.md``, ``table.csv`` and ``report.html``; return the rows that they show.

    The files are written again if another process has added rows meanwhile.
    """
    plan = recipes.read(documents.inside(items[0].folder, "recipe.toml"))
    by_id = {item.id: item for item in items}
    index = {key: k for k, key in enumerate(by_id)}
    while True:
        latest = rows(out)
        order = dict.fromkeys([*methods, *(row["method"] for row in latest)])
        rank = {method: k for k, method in enumerate(order)}
        current = [row for row in latest if _is_current(row, by_id)]
        current.sort(key=lambda row: (index[row["id"]], rank[row["method"]]))
        report = Report(
            plan=plan,
            items=items,
            rows=current,
            lines=lines(current, plan, items),
            preface=preface(plan, items, current, settings),
            out=out,
        )
        contents = {
            "table.md": markdown(report),
            "table.csv": csv_table(report.lines),
            "report.html": web(report),
        }
        for name, content in contents.items():
            documents.write(content.encode("utf-8", "backslashreplace"), out / name)
        if len(rows(out)) == len(latest):
            return current


def _is_current(row: Row, by_id: Mapping[str, Item]) -> bool:
    item = by_id.get(row["id"])
    return item is not None and item.row["measurement_sha256"] == row["measurement_sha256"]


# Tables


def csv_table(results: Sequence[Line]) -> str:
    """Return the lines as CSV, with the means and their standard errors."""
    file = StringIO()
    heads = [name for key in COLUMNS for name in (key, f"{key}_error")]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["problem", "method", "kind", "n", *heads, "said"])
    for line in results:
        pairs = [line.values.get(key, (None, None)) for key in COLUMNS]
        cells = ["" if v is None else f"{v:.6g}" for pair in pairs for v in pair]
        writer.writerow([line.problem, line.method, line.kind, line.n, *cells, line.remark])
    return file.getvalue()


def markdown(report: Report) -> str:
    """Return a table for each degradation, with notes on its results."""
    parts = [f"# {report.title}", *report.preface]
    for problem, own in report.problems():
        parts += [f"## {problem.name}", *_introduction(problem)]
        summary = _summary(own)
        parts.append(tables.markdown(summary.head, summary.rows))
        if notes := _notes(own):
            parts.append("\n".join(f"- {note}" for note in notes))
    return tables.plain("\n\n".join(parts) + "\n")


def preface(
    plan: BenchmarkRecipe,
    items: Sequence[Item],
    current: Sequence[Row],
    settings: Mapping[str, Any],
) -> list[str]:
    """Return the paragraphs that hold for all tables."""
    count = len({item.row["picture"] for item in items})
    n = settings["samples"]
    sizes = list(dict.fromkeys("x".join(map(str, item.row["shape"][1:])) for item in items))
    shown = {**settings, "prior_sha256": (settings["prior_sha256"] or "none")[:12]}
    paragraphs = [
        f"Recipe {items[0].row['recipe']}, {count} images of {', '.join(sizes[:4])}; "
        + ", ".join(f"{k} {v}" for k, v in shown.items())
        + ". Means ± standard errors over the images.",
        "chi^2 is ||y - A x||^2 / (m sigma^2); it is about 1 if x explains y. The residual is the "
        "root mean square of y - A x, in the units of y. Seconds are per image; network calls and "
        "gradients are per sample.",
    ]
    reasons = dict.fromkeys(row["no_lpips"] for row in current if "no_lpips" in row)
    paragraphs += [f"LPIPS: n/a. {reason}" for reason in reasons]
    if n > 1:
        share = 0.9 * (n - 1) / (n + 1)
        paragraphs.append(
            f"Coverage is that of the central 90% interval of {n} samples. That interval of "
            f"exact samples covers the truth about {share:.2f} of the time."
        )
    if plan.images:
        paragraphs.append(
            f"The published results were obtained on {plan.images}, with {plan.prior}. They "
            "compare with ours only on the same images and with the same prior."
        )
    return [*paragraphs, plan.note] if plan.note else paragraphs


def _introduction(problem: Degradation) -> list[str]:
    return [text for text in (problem.description(), problem.note) if text]


def _notes(own: Sequence[Line]) -> list[str]:
    """Return the reasons of the gaps, and the sources, numbered as in ``_label``."""
    gaps = [f"{x.method}: {x.remark}" for x in own if x.kind == "ours" and x.remark]
    return gaps + [f"[{k + 1}] {source}" for k, source in enumerate(_sources(own))]


def _sources(own: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(line.remark for line in own if line.kind == "published"))


def columns_of(own: Sequence[Line]) -> list[str]:
    """Return the columns that hold a value, and those that are always shown."""
    return [c for c in COLUMNS if c in ALWAYS or any(c in line.values for line in own)]


def _label(line: Line, own: Sequence[Line]) -> str:
    if line.kind == "ours":
        return line.method
    return f"{line.method}, published [{_sources(own).index(line.remark) + 1}]"


def _cell(line: Line, column: str) -> str:
    if column not in line.values:
        return "" if line.kind == "published" else "n/a"
    mean, error = line.values[column]
    form = COLUMNS[column][1]
    return f"{mean:{form}}" + ("" if error is None or column in COSTS else f" ± {error:{form}}")


# The page


def web(report: Report) -> str:
    """Return the tables, and the first ``SHOWN`` images of each degradation, as one page."""
    sections = []
    for problem, own in report.problems():
        good = [r for r in report.rows if r["problem"] == problem.name and r["status"] == "ok"]
        ids = {row["id"] for row in good}
        shown = [item for item in report.items if item.id in ids][:SHOWN]
        caption = (
            f"{len(shown)} images: the truth, the measurement, and the result of each method, "
            f"followed by {GAIN} times its error."
        )
        section = html.Section(
            title=problem.name,
            text=_introduction(problem),
            tables=[_summary(own), _image_table(good)],
            notes=[*_notes(own), caption],
            strips=[
                _strip(item, [row for row in good if row["id"] == item.id], report.out)
                for item in shown
            ],
        )
        sections.append(section)
    return html.page(report.title, report.preface, sections)


def _summary(own: Sequence[Line]) -> html.Table:
    columns = columns_of(own)
    return html.Table(
        head=["method", "n", *(COLUMNS[c][0] for c in columns)],
        rows=[[_label(x, own), str(x.n or ""), *(_cell(x, c) for c in columns)] for x in own],
        faint=[k for k, line in enumerate(own) if line.kind == "published"],
    )


def _image_table(good: Sequence[Row]) -> html.Table:
    """Return the table of single images."""
    columns = [c for c in COLUMNS if any(row.get(c) is not None for row in good)]
    return html.Table(
        title="Each image",
        head=["image and method", *(COLUMNS[c][0] for c in columns)],
        rows=[
            [f"{shown(row['picture'])}, {row['method']}"]
            + ["n/a" if row.get(c) is None else f"{row[c]:{COLUMNS[c][1]}}" for c in columns]
            for row in good
        ],
    )


def _strip(item: Item, own: Sequence[Row], out: Path) -> list[html.Panel]:
    """Return the images of one item: truth, measurement, then every method with its error.

    What cannot be read any more is left out.
    """
    strip: list[html.Panel] = []
    with suppress(ValueError, RuntimeError, OSError):
        truth = item.truth()
        strip.append(html.Panel(html.image_source(truth), shown(item.row["picture"])))
        strip.append(html.Panel(html.image_source(_visible(item)), "measured"))
    for row in own if strip else ():
        with suppress(ValueError, RuntimeError, OSError):
            path = documents.inside(out, restored(item.id, row["method"]))
            x = files.read(documents.regular(path)).images.tensor()[0]
            caption = f"{row['method']}: {row['psnr']:.2f} dB"
            error = html.image_source(GAIN * (x - truth))
            strip += [html.Panel(html.image_source(x), caption), html.Panel(error, "error")]
    return strip


def _visible(item: Item) -> Tensor:
    """Return the measurement as an image: y if it is one, else A^+ y."""
    posterior = likelihood([item])
    y = posterior.y
    if y.ndim != 4 or y.shape[1] not in (1, 3):
        operator = posterior.operator
        y = operator.pinv(y) if isinstance(operator, LinearOperator) else y
    return y[0].expand(3, -1, -1)
