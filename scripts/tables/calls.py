"""Measure how many network calls the default of a task needs: PSNR of settings, at equal images.

    python scripts/tables/calls.py data/samples --out runs/calls

The settings of a hole are those of ``inpaint``, by how deep it is; the others are of the task. Rows
are written to ``rows.csv`` as they come, and a run that was stopped goes on. Figures are PSNR in
dB, of holes without noise over the hole, and the difference from 30 calls on the same images: its
mean, and that of the worst image.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables
from diffprior.evaluation.datasets import load
from diffprior.io import files
from diffprior.io.ledger import Ledger, Row
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.generators.masks import draw
from diffprior.priors.base import Prior
from diffprior.tasks import inpaint

AHEAD = "ahead=True"
SETTINGS = {  # of dpir, behind the start and the stop
    "30 calls": "steps=30",
    "15 calls": "steps=15",
    "10 calls": "steps=10",
    "6 calls": "steps=6",
    "30 calls, ahead": f"steps=30, {AHEAD}",  # from other starts than before
    "20 calls, ahead": f"steps=20, {AHEAD}",
    "15 calls, ahead": f"steps=15, {AHEAD}",
    "12 calls, ahead": f"steps=12, {AHEAD}",
    "10 calls, ahead": f"steps=10, {AHEAD}",
    "6 calls, ahead": f"steps=6, {AHEAD}",
}
FIRST = "30 calls"
BEFORE = (0.15, 0.4, 0.7)  # starts for thin, thick and deep holes when a fill took 30 calls
HOLES = ("pixels50", "pixels80", "scratches", "text", "strokes")
NOISY, SIGMA = "noisy ", 0.03  # of problems whose known pixels have noise, in [0, 1]
SCALES = {"upscale 2": 2, "upscale 4": 4}
FIELDS = ("picture", "problem", "setting", "psnr", "calls", "seconds")
WORST = "worst difference"
MEASURES = {"psnr": ".2f", "difference": "+.3f", WORST: "+.3f", "seconds": ".1f"}


def filled(y: Tensor, hole: Tensor, setting: str, prior: Prior, sigma: float = 0) -> Any:
    """Return the result of filling a hole ``(1, 1, H, W)`` of an image in [0, 1]."""
    starts = BEFORE if setting == FIRST else inpaint.STARTS
    start = starts[inpaint.thickness(hole[0], hole[0])]
    method = f"dpir(start={start}, spread=32, {SETTINGS[setting]})"
    settings: Any = {"prior": prior, "method": method, "fill": "smooth", "sigma": sigma}
    return diffprior.inpaint(y * ~hole, hole, **settings)


def enlarged(scale: int, truth: Tensor, setting: str, prior: Prior) -> Any:
    """Return the result of enlarging a reduced image in [0, 1]."""
    small = Bicubic(scale, (3, *truth.shape[-2:]))(truth).clamp(0, 1)
    method = f"dpir(start=0.4, {SETTINGS[setting]})"
    return diffprior.super_resolve(small, scale, prior=prior, method=method)


def measured(problem: str, truth: Tensor, seed: int) -> tuple[Callable[..., Any], Tensor | None]:
    """Return what solves a problem under a setting, and the pixels that count."""
    if problem in SCALES:
        return partial(enlarged, SCALES[problem], truth), None
    height, width = truth.shape[-2:]
    hole = draw(problem.removeprefix(NOISY), height, width, seed)[None]
    if not problem.startswith(NOISY):
        return partial(filled, truth, hole), hole
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed))
    return partial(filled, (truth + SIGMA * noise).clamp(0, 1), hole, sigma=SIGMA), None


def compared(rows: list[Row]) -> list[Row]:
    """Return rows with their difference from the first setting, where that was measured."""
    first = {(r["picture"], r["problem"]): r for r in rows if r["setting"] == FIRST}
    out = []
    for row in rows:
        base = first.get((row["picture"], row["problem"]))
        gain = "n/a" if base is None else float(row["psnr"]) - float(base["psnr"])
        out.append(row | {"difference": gain})
    return out


def worst(rows: list[Row]) -> list[Row]:
    """Return a row for each problem and setting: the least difference of an image."""
    least: dict[tuple[str, str], float] = {}
    for row in rows:
        if row["difference"] != "n/a":
            key = row["problem"], row["setting"]
            least[key] = min(row["difference"], least.get(key, math.inf))
    return [{"problem": p, "setting": s, WORST: gain} for (p, s), gain in least.items()]


def main(
    images: Annotated[list[str], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder of the rows.")],
    side: Annotated[int, typer.Option(help="Short side in pixels.")] = 256,
    crop: Annotated[int, typer.Option(help="Side of the middle that is used; 0 for all.")] = 0,
    limit: Annotated[int, typer.Option(help="Number of images of each folder.")] = 1000,
    problem: Annotated[list[str] | None, typer.Option(help="Only this one.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Only this one.")] = None,
) -> None:
    """Print the table."""
    problems = chosen("--problem", problem, [*HOLES, *SCALES, *(NOISY + hole for hole in HOLES)])
    settings = chosen("--setting", setting, list(SETTINGS))
    ledger = Ledger(out / "rows.csv", FIELDS, 3)
    prior = diffprior.load_prior()
    paths = [path for folder in images for path in files.find([folder])[:limit]]
    for number, file in enumerate(paths):
        truth = load(file, side)
        if crop:
            top, left = ((n - crop) // 2 for n in truth.shape[-2:])
            truth = truth[..., top : top + crop, left : left + crop]
        truth = truth[..., : truth.shape[-2] // 4 * 4, : truth.shape[-1] // 4 * 4].contiguous()
        for name in problems:
            solve, counted = measured(name, truth, number)
            for text in settings:
                if (file.name, name, text) in ledger:
                    continue
                start = time.process_time()
                result = solve(text, prior)
                seconds = round(time.process_time() - start, 3)
                psnr = metrics.psnr(2 * result.image - 1, 2 * truth - 1, counted).item()
                row: Row = {"picture": file.name, "problem": name, "setting": text}
                calls = result.report["network_calls"]
                ledger.add(row | {"psnr": psnr, "calls": calls, "seconds": seconds})
    rows = compared(ledger.rows)
    across = ["problem", *problems]
    for field, form in MEASURES.items():
        own = worst(rows) if field == WORST else rows
        head, *lines = tables.table(own, field, down="setting", across=across, form=form)
        print(f"{field}\n\n{tables.markdown(head, lines)}\n", flush=True)


if __name__ == "__main__":
    run(main)
