"""Measure the fill of wide holes next to that of other programs.

    python scripts/tables/wide_holes.py holes data/samples path/to/set14 --out runs/wide_holes
    python scripts/tables/wide_holes.py times data/samples/mc1.png --out runs/wide_holes

Three groups of holes: blobs in crops of the images, objects of the images (masks drawn by hand),
and the holes of these objects moved aside, to where the truth is known. Each fill is one process,
so that its seconds and its memory are those of a person who runs it; the start of the program is a
part of them.

``gmic`` is a program of that name. SHIFTMAP and FSR need opencv-contrib-python in an environment of
its own, whose Python ``--xphoto-python`` or XPHOTO_PYTHON names. What is missing is left out, with
one line that says so.

Rows are written to ``rows.csv`` as they come, and a run that was stopped goes on; ``--again`` runs
a method anew. The fills are in ``fills``. ``table.md`` and ``table.csv`` hold the results,
``sheet_*.png`` the images.
"""

import csv
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import numpy as np
import typer
from fills import METHODS, PEERS, Filler
from holes import SETS, Array, Case, cases, photo, tensor

from diffprior import metrics
from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables
from diffprior.io import files
from diffprior.io.ledger import Ledger, Row

ORIGINAL = "original"  # a row for the image itself: the truth, or the object that is to go
FIELDS = (
    *("group", "name", "method"),
    *("patches", "around", "seam", "texture", "hole_psnr", "seconds", "memory"),
)
OBJECTS = Path(__file__).parents[2] / "data" / "masks" / "objects"


class Timed(NamedTuple):
    """An image that is timed: its size, its hole's, and what ours may take."""

    title: str
    size: tuple[int, int]
    hole: tuple[int, int]
    seconds: float
    megabytes: float = math.inf


TIMES = {
    "small": Timed("768 x 512, hole of 80 x 200", (512, 768), (200, 80), 12.0, 1500.0),
    "large": Timed("4000 x 3000, hole of 600 x 600", (3000, 4000), (600, 600), 60.0),
}


class Column(NamedTuple):
    """A column of a table: its title, how it sums up its numbers, and their format."""

    title: str
    total: Callable[[Iterable[float]], float]
    form: str = ".2f"


COLUMNS = {
    "patches": Column("patch distance", statistics.fmean),
    "around": Column("to surroundings", statistics.fmean),
    "seam": Column("seam", statistics.fmean),
    "texture": Column("texture", statistics.median),
    "hole_psnr": Column("hole PSNR, dB", statistics.fmean),
    "seconds": Column("seconds", statistics.median, ".1f"),
    "memory": Column("memory, MB", max, ".0f"),
}
HEADS = {
    "blobs": "Blobs: {n} images, with the truth",
    "moved": "Holes of objects, moved to where the truth is known: {n} images",
    "objects": "Objects: {n} images, without a truth",
}
NOTES = """\
- **patch distance**: of the fill to the truth; 0 is the same texture. Mean.
- **to surroundings**: the patch distance of the fill to the known pixels round it, as far away as
  the hole is deep. No fill should be at 0: see the row `original`. Mean.
- **seam**: |log| of the seam of the fill over that of the truth, without a truth of the seam alone;
  0 is unseen. Mean.
- **texture**: the energy of the gradients over that of the truth. Median.
- **hole PSNR**: over the hole, in dB. Mean.
- **seconds**: of the whole process. Median. **memory**: its peak, the largest of all images.
"""


def score(case: Case, filled: Array) -> dict[str, float | str]:
    """Return the metrics of a fill; those that need a truth are empty without one."""
    truth, hole = case.tensors()
    x = tensor(np.where(case.hole[..., None], filled, case.image))
    ring = metrics.surroundings(hole)
    row: dict[str, float | str] = {"around": metrics.patch_distance(x, x, hole, ring).item()}
    seam = metrics.seam(x, hole)
    if case.has_truth:
        seam = seam / metrics.seam(truth, hole)
        row["patches"] = metrics.patch_distance(x, truth, hole).item()
        row["texture"] = metrics.texture(x, truth, hole).item()
        row["hole_psnr"] = metrics.psnr(x, truth, hole).item()
    row["seam"] = seam.log().abs().item()
    return {name: value if math.isfinite(float(value)) else "n/a" for name, value in row.items()}


def measure(case: Case, filler: Filler, ledger: Ledger, methods: Sequence[str]) -> None:
    """Add the rows of a case that are missing."""
    head: Row = {"group": case.group, "name": case.name}
    if (case.group, case.name, ORIGINAL) not in ledger:
        ledger.add(head | {"method": ORIGINAL} | score(case, case.image))
    for method in methods:
        if (case.group, case.name, method) in ledger:
            continue
        cost = filler.fill(case, method)
        if cost is not None:
            costs = {"seconds": round(cost.seconds, 2), "memory": round(cost.megabytes)}
            filled = photo(filler.path(case, method))
            row = ledger.add(head | {"method": method} | costs | score(case, filled))
            print(", ".join(str(row[k]) for k in FIELDS), flush=True)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Return the head and a line for each method, of the rows of one group."""
    columns = [key for key in COLUMNS if tables.numbers(rows, key)]
    lines = [["method", *(COLUMNS[key].title for key in columns), "n"]]
    for method in (ORIGINAL, *METHODS):
        own = [row for row in rows if row["method"] == method]
        if own:
            lines.append([method, *(cell(own, key) for key in columns), str(len(own))])
    return lines


def cell(rows: Sequence[Row], key: str) -> str:
    """Return the sum of a column, "n/a" where there are no numbers."""
    numbers = tables.numbers(rows, key)
    return f"{COLUMNS[key].total(numbers):{COLUMNS[key].form}}" if numbers else "n/a"


class Bar(NamedTuple):
    """A demand on our default: what is asked, what was measured, and whether it is met."""

    asked: str
    measured: str
    met: bool

    def __str__(self) -> str:
        verdict = "met" if self.met else "not met"
        return f"bar: {self.asked}: measured {self.measured}: {verdict}"


def bars(rows: Sequence[Row]) -> list[Bar]:
    """Return the demands on ``default``, over the images that all three of us have filled."""
    names = ("default", *PEERS)
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row["method"] in names:
            found.setdefault((row["group"], row["name"]), {})[row["method"]] = row
    whole = [own for own in found.values() if len(own) == len(names)]
    if not whole:
        return []
    by = {name: [own[name] for own in whole] for name in names}
    mean = {name: tables.mean(own, "patches") for name, own in by.items()}
    best = min(PEERS, key=lambda name: mean[name])
    under = [_wins(own) for own in whole]
    seam = tables.mean(by["default"], "seam")
    texture = statistics.median(tables.numbers(by["default"], "texture"))
    psnr = {name: tables.mean(own, "hole_psnr") for name, own in by.items()}
    change = mean["default"] / mean[best] - 1
    return [
        Bar(
            "patch distance at least 20% under the better of gmic and shiftmap",
            f"{mean['default']:.2f}, {change:+.0%} of {mean[best]:.2f} ({best})",
            change <= -0.2,
        ),
        Bar(
            "under both on at least 7 of 10 images",
            f"{sum(under)} of {len(under)}",
            sum(under) >= 0.7 * len(under),
        ),
        Bar("|log seam| at most 0.2 in the mean", f"{seam:.2f}", seam <= 0.2),
        Bar("texture of 0.7 to 1.3 in the median", f"{texture:.2f}", 0.7 <= texture <= 1.3),
        Bar(
            "PSNR not below that of gmic",
            f"{psnr['default']:.2f} dB, gmic {psnr['gmic']:.2f} dB",
            psnr["default"] >= psnr["gmic"],
        ),
    ]


def _wins(own: dict[str, Row]) -> bool:
    return all(float(own["default"]["patches"]) < float(own[name]["patches"]) for name in PEERS)


def write_tables(rows: Sequence[Row], out: Path) -> str:
    """Write ``table.md`` and ``table.csv``; return the former."""
    parts = []
    lines = []
    for group in SETS:
        own = [row for row in rows if row["group"] == group]
        if not own:
            continue
        head, *body = table(own)
        title = HEADS[group].format(n=len(tables.unique(own, "name")))
        parts.append(f"### {title}\n\n{tables.markdown(head, body)}\n")
        demands = bars(own) if group != "objects" else []
        parts.append("".join(f"- {bar}\n" for bar in demands))
        lines += [[group, *line] for line in (head, *body)]
    both = [row for row in rows if row["group"] != "objects"]
    if len(tables.unique(both, "group")) == 2:
        demands = bars(both)
        parts.append("### All with a truth\n\n" + "".join(f"- {bar}\n" for bar in demands))
    text = "\n".join(part for part in [*parts, NOTES] if part)
    (out / "table.md").write_text(text)
    with (out / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return text


def write_sheet(case: Case, filler: Filler, methods: Sequence[str]) -> None:
    """Write the fills of a case side by side, around the hole."""
    rows, columns = np.nonzero(case.hole)
    margin = max(48, max(np.ptp(rows), np.ptp(columns)) // 2)
    height, width = case.hole.shape
    part = (
        slice(max(0, rows.min() - margin), min(height, rows.max() + margin + 1)),
        slice(max(0, columns.min() - margin), min(width, columns.max() + margin + 1)),
    )
    red = np.where(case.hole[..., None], (255, 0, 0), case.image).astype(np.uint8)
    panels = [panel(ORIGINAL, case.image[part]), panel("hole", red[part])]
    for method in methods:
        path = filler.path(case, method)
        if path.exists():
            panels.append(panel(method, photo(path)[part]))
    while len(panels) % 4:
        panels.append(np.zeros_like(panels[0]))
    lines = [np.concatenate(panels[i : i + 4], 1) for i in range(0, len(panels), 4)]
    path = filler.out / f"sheet_{case.group}_{case.name}.png"
    cv2.imwrite(str(path), np.concatenate(lines)[..., ::-1])


def panel(name: str, image: Array) -> Array:
    """Return an image below its name, 360 px wide."""
    height = round(360 * image.shape[0] / image.shape[1])
    enlarged = image.shape[1] < 360
    kind = cv2.INTER_CUBIC if enlarged else cv2.INTER_AREA
    head = np.zeros((20, 360, 3), np.uint8)
    cv2.putText(head, name, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.48, (255, 255, 255), 1)
    return np.concatenate([head, cv2.resize(image, (360, height), interpolation=kind)])


def time_case(name: str, path: Path) -> Case:
    """Return an image of the size of a timing, out of mirrored copies, with its hole."""
    (height, width), (tall, wide) = TIMES[name].size, TIMES[name].hole
    image = photo(path)
    if height > 2000:  # as fine as a photo of that size is
        image = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    ends = [(0, max(0, n - side)) for n, side in zip((height, width), image.shape, strict=False)]
    image = np.pad(image, (*ends, (0, 0)), mode="symmetric")[:height, :width]
    hole = np.zeros((height, width), np.uint8)
    center = (width // 2, height // 2)
    if tall == wide:
        cv2.circle(hole, center, tall // 2, (1,), -1)
    else:
        hole[(height - tall) // 2 :, (width - wide) // 2 :][:tall, :wide] = 1
    return Case(group="times", name=name, image=image, hole=hole > 0)


def write_times(image: Path, sizes: Sequence[str], filler: Filler, methods: Sequence[str]) -> str:
    """Write and return the table of seconds and memory, and whether ours are in their limits."""
    lines, demands = [], []
    for name in sizes:
        timed = TIMES[name]
        case = time_case(name, image)
        for method in methods:
            cost = filler.fill(case, method)
            if cost is None:
                continue
            seconds, memory = f"{cost.seconds:.1f}", f"{cost.megabytes:.0f}"
            print(f"{name}, {method}: {seconds} s, {memory} MB", flush=True)
            lines.append([name, timed.title, method, seconds, memory])
            if method == "default":
                limits = f"{timed.title}: at most {timed.seconds:.0f} s"
                if math.isfinite(timed.megabytes):
                    limits += f" and {timed.megabytes:.0f} MB"
                met = cost.seconds <= timed.seconds and cost.megabytes <= timed.megabytes
                demands.append(Bar(limits, f"{seconds} s, {memory} MB", met))
    text = tables.markdown(["size", "image", "method", "seconds", "memory, MB"], lines)
    text = "\n".join([text, "", *(f"- {bar}" for bar in demands)]) + "\n"
    (filler.out / "times.md").write_text(text)
    return text


Out = Annotated[Path, typer.Option(help="Folder of the rows, the tables and the sheets.")]
Names = Annotated[list[str] | None, typer.Option(help="Run only this method.")]
Python = Annotated[
    str, typer.Option(envvar="XPHOTO_PYTHON", help="Python with opencv-contrib-python.")
]
app = typer.Typer(add_completion=False)


@app.command("holes")
def measure_holes(
    images: Annotated[list[str], typer.Argument(help="Images, or folders of images.")],
    out: Out,
    objects: Annotated[
        Path, typer.Option(help="Folder of masks of objects, each named image_object.png.")
    ] = OBJECTS,
    group: Annotated[list[str] | None, typer.Option(help="Only this group of holes.")] = None,
    method: Names = None,
    again: Annotated[list[str] | None, typer.Option(help="Run this method anew.")] = None,
    xphoto_python: Python = sys.executable,
) -> None:
    """Measure fills by their images."""
    groups = chosen("--group", group, SETS)
    methods = chosen("--method", method, METHODS)
    drop(out / "rows.csv", chosen("--again", again, METHODS) if again else [])
    ledger = Ledger(out / "rows.csv", FIELDS, 3)
    filler = Filler(out, xphoto_python)
    for case in cases(files.find(images), objects, groups):
        measure(case, filler, ledger, methods)
        write_sheet(case, filler, METHODS)
    print(write_tables(ledger.rows, out))


@app.command("times")
def measure_times(
    image: Annotated[Path, typer.Argument(help="Image whose mirrored copies are filled.")],
    out: Out,
    method: Names = None,
    size: Annotated[list[str] | None, typer.Option(help="Measure only this image.")] = None,
    xphoto_python: Python = sys.executable,
) -> None:
    """Measure the seconds and the memory of two larger images."""
    methods = chosen("--method", method, METHODS)
    sizes = chosen("--size", size, list(TIMES))
    text = write_times(image, sizes, Filler(out, xphoto_python), methods)
    print(text)


def drop(path: Path, methods: Sequence[str]) -> None:
    """Remove the rows of methods that are to run anew."""
    if not methods or not path.exists():
        return
    kept = [row for row in Ledger(path, FIELDS, 3).rows if row["method"] not in methods]
    path.unlink()
    ledger = Ledger(path, FIELDS, 3)
    for row in kept:
        ledger.add(row)


if __name__ == "__main__":
    run(app)
