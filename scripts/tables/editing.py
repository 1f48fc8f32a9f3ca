"""Measure edits: PIE-Bench, round trips of inversions, and SDEdit between faithful and real.

    python scripts/tables/editing.py pie path/to/PIE-Bench --prior path/to/sd --out runs/pie
    python scripts/tables/editing.py inversions data/samples --out runs/inversions
    python scripts/tables/editing.py sdedit --out runs/sdedit

Rows go to a csv as they come, and a run that was stopped goes on; the tables, in markdown, hold the
means.
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
from benchmark_inpainting import load
from PIL import Image

import diffprior
from diffprior import metrics
from diffprior.catalog import build
from diffprior.evaluation import pie_bench
from diffprior.evaluation.ledger import Ledger
from diffprior.io import files
from diffprior.io.arrays import as_images
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.runtime.placement import prepare_prior
from diffprior.runtime.report import Meter

app = typer.Typer(add_completion=False, help=__doc__)
Out = Annotated[Path, typer.Option(help="Folder of the rows, the tables and the images.")]
PriorName = Annotated[str | None, typer.Option(help="A shipped name, a folder or a hub id.")]
Limit = Annotated[int, typer.Option(help="How many images.")]

METHODS: dict[str, dict[str, Any]] = {  # a task, and its settings; "source" is no edit at all
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
    """Yield each first key, its number of rows, and the means of what is not NaN in them."""
    first = ledger.keys[0]
    for name in dict.fromkeys(row[first] for row in ledger.rows):
        mine = [row for row in ledger.rows if row[first] == name]
        known = {k: [v for row in mine if not math.isnan(v := float(row[k]))] for k in values}
        yield name, len(mine), {k: float(np.mean(v)) if v else math.nan for k, v in known.items()}


def table(path: Path, head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table as markdown, and write it."""
    rows = [head, ["---"] * len(head), *lines]
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    path.write_text(text + "\n")
    print(text)


def shown(value: float, form: str) -> str:
    return "n/a" if math.isnan(value) else f"{value:{form}}"


def edited(
    method: str, image: Image.Image, edit: pie_bench.Edit, prompts: bool, **common: Any
) -> Image.Image:
    """Return an image after a method; those that redraw are given the part to edit."""
    settings = dict(METHODS[method])
    if not settings:
        return image
    task = getattr(diffprior, settings.pop("task"))
    if prompts:
        common["prompt"] = edit.target
    if "inversion" in settings:
        source = {"source_prompt": edit.source} if prompts else {}
        return task(image, **settings, **source, **common).image
    mask = pie_bench.covered(edit.runs, (image.height, image.width), border=False)
    return task(image, mask, **settings, **common).image


@app.command()
def pie(
    folder: Annotated[Path, typer.Argument(help="PIE-Bench: mapping_file.json and images.")],
    out: Out,
    method: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    prior: PriorName = None,
    prompts: Annotated[bool, typer.Option(help="Off for a prior that reads nothing.")] = True,
    steps: Annotated[int, typer.Option(help="Steps of each chain.")] = 50,
    limit: Limit = 1000,
) -> None:
    """Run methods over PIE-Bench; edited images lie in OUT/METHOD, in its layout."""
    values = (*pie_bench.COLUMNS, "seconds")
    ledger = Ledger(out / "rows.csv", ("method", "name", *values), 2)
    model, missing = diffprior.load_prior(prior), set[str]()
    for edit in pie_bench.read(folder)[:limit]:
        image = Image.open(folder / "annotation_images" / edit.image).convert("RGB")
        source = as_images(image).tensor()
        mask = pie_bench.covered(edit.runs, (image.height, image.width))
        for name in method or METHODS:
            if (name, edit.name) in ledger:
                continue
            start = time.perf_counter()
            x = edited(name, image, edit, prompts, prior=model, steps=steps)
            seconds = time.perf_counter() - start
            path = out / name / "annotation_images" / edit.image
            path.parent.mkdir(parents=True, exist_ok=True)
            x.save(path)
            found, why = pie_bench.measure(as_images(x).tensor(), source, mask, edit.target)
            ledger.add({"method": name, "name": edit.name, "seconds": seconds} | found)
            missing |= set(why)
    columns = (pie_bench.COLUMNS | {"seconds": ("seconds", 1, ".1f")}).items()
    lines = [
        [name, str(n), *(shown(factor * mean[k], form) for k, (_, factor, form) in columns)]
        for name, n, mean in means(ledger, values)
    ]
    table(out / "table.md", ["method", "pictures", *(title for _, (title, *_) in columns)], lines)
    print(*sorted(missing), sep="\n")


@app.command()
def inversions(
    folder: Annotated[list[str], typer.Argument(help="Images or folders of them.")],
    out: Out,
    inversion: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    prior: PriorName = None,
    side: Annotated[int, typer.Option(help="Short side, in pixels.")] = 256,
    steps: Annotated[int, typer.Option(help="Steps of each way.")] = 50,
    limit: Limit = 1000,
) -> None:
    """Take images up to noise and down again, under the same prior."""
    values = ("psnr", "calls", "seconds")
    ledger = Ledger(out / "rows.csv", ("inversion", "name", *values), 2)
    opened = diffprior.load_prior(prior)
    for path in [p for f in folder for p in files.find([f])][:limit]:
        x = 2 * load(path, side) - 1
        model = prepare_prior(opened, tuple(x.shape[1:]), dtype="float32")
        for text in inversion or INVERSIONS:
            if (text, path.name) in ledger:
                continue
            settings = (
                f"{text[:-1]}, steps={steps})" if text.endswith(")") else f"{text}(steps={steps})"
            )
            way, meter, start = build(settings, ("inversions",)), Meter(), time.perf_counter()
            with meter.on(model):
                code = way.encode(model, model.encode(x.to(model.like)), Noise(0, [path.name]))
                back = model.decode(way.decode(model, code)).cpu()
            psnr, seconds = metrics.psnr(back, x).item(), time.perf_counter() - start
            numbers = {"psnr": psnr, "calls": meter.calls, "seconds": seconds}
            ledger.add({"inversion": text, "name": path.name} | numbers)
    lines = [
        [f"`{name}`", str(n), f"{m['psnr']:.2f}", f"{m['calls']:.0f}", f"{m['seconds']:.1f}"]
        for name, n, m in means(ledger, values)
    ]
    table(out / "table.md", ["inversion", "pictures", "PSNR, dB", "calls", "seconds"], lines)


@app.command()
def sdedit(
    out: Out,
    samples: Annotated[int, typer.Option(help="Answers at each strength.")] = 64,
    steps: Annotated[int, typer.Option(help="Steps of each chain.")] = 100,
) -> None:
    """Edit noise over the strength under an exact mixture of 8 x 8 images: real against faithful.

    The distance is the root mean square from the input in [0, 1]; log p is under the mixture, whose
    own samples have the last row's.
    """
    out.mkdir(parents=True, exist_ok=True)
    noise, shape = Noise(0, range(20)), (3, 8, 8)
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
    shown_lines = [[f"{s:g}", f"{d:.4f}", f"{p:.1f}"] for s, d, p in lines]
    head = ["strength", "distance to the input", "log p under the prior"]
    table(out / "sdedit.md", head, [*shown_lines, ["the prior's own samples", "", f"{own:.1f}"]])


if __name__ == "__main__":
    app()
