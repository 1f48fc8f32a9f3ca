"""Measure edits: PIE-Bench, round trips of inversions, and the strength of SDEdit.

    python scripts/tables/editing.py pie path/to/PIE-Bench --prior path/to/sd --out runs/pie
    python scripts/tables/editing.py inversions data/samples --out runs/inversions
    python scripts/tables/editing.py sdedit --out runs/sdedit

Rows are written to ``rows.csv`` as they come, and a run that was stopped goes on. Tables in
markdown hold the means.
"""

import csv
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

import diffprior
from diffprior import metrics
from diffprior.catalog import build
from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import pie_bench, tables
from diffprior.evaluation.datasets import load
from diffprior.io import files
from diffprior.io.arrays import as_images
from diffprior.io.ledger import Ledger
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.runtime.placement import prepare_prior
from diffprior.runtime.report import Meter

app = typer.Typer(add_completion=False, help=__doc__)
Out = Annotated[Path, typer.Option(help="Folder of the rows, the tables and the images.")]
PriorName = Annotated[str | None, typer.Option(help="Shipped name, folder or hub id.")]
Limit = Annotated[int, typer.Option(help="Number of images.")]

METHODS: dict[str, dict[str, Any]] = {  # a task and its settings; "source" is the image itself
    "source": {},
    "ddim": {"task": "edit", "inversion": "ddim_inversion"},
    "ddim, refined": {"task": "edit", "inversion": "ddim_inversion(rounds=4)"},
    "edict": {"task": "edit", "inversion": "edict"},
    "direct": {"task": "edit", "inversion": "direct"},
    "direct, prompt to prompt": {"task": "edit", "inversion": "direct", "attention": "refine"},
    "edit-friendly": {"task": "edit", "inversion": "edit_friendly"},
    "null-text": {"task": "edit", "inversion": "null_text"},
    "negative-prompt": {"task": "edit", "inversion": "negative_prompt"},
    "blend": {"task": "blend"},
    "sdedit": {"task": "sdedit", "strength": 0.5},
}
INVERSIONS = (
    "ddim_inversion",
    "ddim_inversion(rounds=4)",
    "flow",
    "flow(rounds=1)",
    "direct",
    "edict",
    "edit_friendly",
)
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


def means(ledger: Ledger, values: Sequence[str]) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Yield each value of the first field, its number of rows, and the means without NaN."""
    first = ledger.keys[0]
    for name in tables.unique(ledger.rows, first):
        own = [row for row in ledger.rows if row[first] == name]
        columns = {field: np.array(tables.numbers(own, field)) for field in values}
        finite = {field: column[~np.isnan(column)] for field, column in columns.items()}
        yield (
            name,
            len(own),
            {k: float(v.mean()) if len(v) else math.nan for k, v in finite.items()},
        )


def write_table(path: Path, head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table as markdown, and write it."""
    text = tables.markdown(head, lines)
    path.write_text(text + "\n")
    print(text)


def cell(value: float, form: str) -> str:
    """Return a number as text, "n/a" for NaN."""
    return "n/a" if math.isnan(value) else f"{value:{form}}"


def edited(
    method: str, image: Image.Image, edit: pie_bench.Edit, prompts: bool, **common: Any
) -> Image.Image:
    """Return an image edited by a method. Tasks with a mask get the region to edit.

    Arguments:
        method: One of ``METHODS``.
        image: Image to edit.
        edit: Prompts and region.
        prompts: Whether the prior uses prompts.
        common: Settings of all tasks.
    """
    settings = dict(METHODS[method])
    if not settings:
        return image
    task = getattr(diffprior, settings.pop("task"))
    if prompts:
        common["prompt"] = edit.target
    if "inversion" in settings:
        source = {"source_prompt": edit.source} if prompts else {}
        result: Image.Image = task(image, **settings, **source, **common).image
        return result
    mask = pie_bench.covered(edit.runs, (image.height, image.width), border=False)
    result = task(image, mask, **settings, **common).image
    return result


@app.command()
def pie(
    folder: Annotated[Path, typer.Argument(help="PIE-Bench, with mapping_file.json.")],
    out: Out,
    method: Annotated[list[str] | None, typer.Option(help="Run only this one.")] = None,
    prior: PriorName = None,
    prompts: Annotated[
        bool, typer.Option(help="Use prompts; off for a prior without them.")
    ] = True,
    steps: Annotated[int, typer.Option(help="Steps of each chain.")] = 50,
    limit: Limit = 1000,
) -> None:
    """Run methods on PIE-Bench; edited images are written to OUT/METHOD in its layout."""
    values = (*pie_bench.COLUMNS, "seconds")
    methods = chosen("--method", method, [*METHODS])
    ledger = Ledger(out / "rows.csv", ("method", "name", *values), 2)
    model = diffprior.load_prior(prior)
    missing: set[str] = set()
    for edit in pie_bench.read(folder)[:limit]:
        image = Image.open(folder / "annotation_images" / edit.image).convert("RGB")
        source = as_images(image).tensor()
        mask = pie_bench.covered(edit.runs, (image.height, image.width))
        for name in methods:
            if (name, edit.name) in ledger:
                continue
            start = time.perf_counter()
            x = edited(name, image, edit, prompts, prior=model, steps=steps)
            seconds = time.perf_counter() - start
            path = out / name / "annotation_images" / edit.image
            path.parent.mkdir(parents=True, exist_ok=True)
            x.save(path)
            numbers, reasons = pie_bench.measure(as_images(x).tensor(), source, mask, edit.target)
            ledger.add({"method": name, "name": edit.name, "seconds": seconds} | numbers)
            missing |= set(reasons)
    columns = (pie_bench.COLUMNS | {"seconds": ("seconds", 1, ".1f")}).items()
    lines = [
        [name, str(n), *(cell(factor * mean[k], form) for k, (_, factor, form) in columns)]
        for name, n, mean in means(ledger, values)
    ]
    write_table(
        out / "table.md", ["method", "images", *(title for _, (title, *_) in columns)], lines
    )
    print(*sorted(missing), sep="\n")


@app.command()
def inversions(
    folder: Annotated[list[str], typer.Argument(help="Images, or folders of images.")],
    out: Out,
    inversion: Annotated[list[str] | None, typer.Option(help="Run only this one.")] = None,
    prior: PriorName = None,
    side: Annotated[int, typer.Option(help="Short side in pixels.")] = 256,
    steps: Annotated[int, typer.Option(help="Steps of each direction.")] = 50,
    limit: Limit = 1000,
) -> None:
    """Invert images to noise and back under the same prior."""
    values = ("psnr", "calls", "seconds")
    ledger = Ledger(out / "rows.csv", ("inversion", "name", *values), 2)
    loaded = diffprior.load_prior(prior)
    for path in [p for f in folder for p in files.find([f])][:limit]:
        x = 2 * load(path, side) - 1
        model = prepare_prior(loaded, tuple(x.shape[1:]), dtype="float32")
        for text in inversion or INVERSIONS:
            if (text, path.name) in ledger:
                continue
            head, _, settings = text.removesuffix(")").partition("(")
            settings = ", ".join(filter(None, [settings, f"steps={steps}"]))
            method: Any = build(f"{head}({settings})", ("inversions",))
            meter = Meter()
            start = time.perf_counter()
            with meter.on(model):
                code = method.encode(model, model.encode(x.to(model.like)), Noise(0, [path.name]))
                back = model.decode(method.decode(model, code)).cpu()
            psnr = metrics.psnr(back, x).item()
            seconds = time.perf_counter() - start
            numbers = {"psnr": psnr, "calls": meter.calls, "seconds": seconds}
            ledger.add({"inversion": text, "name": path.name} | numbers)
    lines = [
        [f"`{name}`", str(n), f"{m['psnr']:.2f}", f"{m['calls']:.0f}", f"{m['seconds']:.1f}"]
        for name, n, m in means(ledger, values)
    ]
    write_table(out / "table.md", ["inversion", "images", "PSNR, dB", "calls", "seconds"], lines)


@app.command()
def sdedit(
    out: Out,
    samples: Annotated[int, typer.Option(help="Samples at each strength.")] = 64,
    steps: Annotated[int, typer.Option(help="Steps of each chain.")] = 100,
) -> None:
    """Edit a rough image at several strengths, under an exact mixture of 8 x 8 images.

    The distance is the root mean square difference from the input, in [0, 1]. log p is the density
    of the result under the mixture; the last row is that of samples of the mixture.
    """
    out.mkdir(parents=True, exist_ok=True)
    noise = Noise(0, range(20))
    shape = 3, 8, 8
    draws = noise.normal(torch.empty(20, *shape, dtype=torch.float64))
    means = 0.4 * draws[:8, :, :1, :1] + 0.1 * draws[8:16]
    one = torch.ones(8, dtype=torch.float64)
    prior = MixturePrior(one, means, 0.01 * one)
    rough = (0.5 + 0.15 * draws[16]).clamp(0, 1)
    lines = []
    for strength in STRENGTHS:
        result = diffprior.sdedit(
            rough, strength=strength, prior=prior, samples=samples, steps=steps
        )
        x = torch.stack(result.samples)
        distance = (x - rough).square().mean().sqrt().item()
        lines.append((strength, distance, prior.log_prob(2 * x - 1).mean().item()))
    own = prior.log_prob(prior.sample(Noise(1, samples=samples))).mean().item()
    with (out / "sdedit.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("strength", "distance", "log_p"), *lines])
    texts = [[f"{s:g}", f"{d:.4f}", f"{p:.1f}"] for s, d, p in lines]
    head = ["strength", "distance to the input", "log p under the prior"]
    write_table(out / "sdedit.md", head, [*texts, ["the prior's own samples", "", f"{own:.1f}"]])


if __name__ == "__main__":
    run(app)
