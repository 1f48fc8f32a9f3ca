"""Measure inpainting methods next to classical ones, over the hole and over the image.

    python scripts/tables/inpainting.py data/samples --out runs/inpainting

Rows are written to ``rows.csv`` as they come, and a run that was stopped goes on. ``table.md`` and
``table.csv`` hold the means, ``sheet_*.png`` the images.
"""

import csv
import time
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.classical import baselines
from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables
from diffprior.evaluation.datasets import load
from diffprior.io import arrays, files
from diffprior.io.ledger import Ledger, Row
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.generators.masks import KINDS, draw
from diffprior.operators.mask import Mask
from diffprior.tasks import inpaint

CHAIN = "sampler=ddim(steps=20, eta=0.85, grid='logsnr')"
METHODS = {
    "default": "",
    "one sample": inpaint.SEVERAL,
    "texture": "",
    "dpir, 60 steps": "dpir(start=0.4, steps=60)",
    "diffpir": "diffpir(start=0.5, sampler=ddim(steps=20, eta=1.0, grid='logsnr'))",
    "ddnm": f"ddnm(start=0.5, {CHAIN})",
    "ddnm, start 1": "ddnm(start=1.0, sampler=ddim(steps=25, eta=0.85, grid='logsnr'))",
    "repaint": "repaint(start=0.5, steps=20, jump=5, repeats=2, grid='logsnr')",
    "tilt": "tilt(start=0.5, sampler=ancestral(steps=20, grid='logsnr'))",
    "pigdm": f"pigdm(start=0.5, var=0.25, {CHAIN})",
    "mmps": "mmps(start=0.5, iterations=3, sampler=ddim(steps=8, grid='logsnr'))",
    "dps": "dps(start=0.5, zeta=0.3, sampler=ancestral(steps=40, grid='logsnr'))",
    "smc": "smc(start=0.5, steps=20, grid='logsnr', proposal=tilt())",
}
NOISY = {"smc": 0.01}  # noise levels of methods that need a density of the data
SAMPLES = {"smc": 4}
CLASSICAL = ("telea", "navier-stokes", "biharmonic")
SCORES = ("hole_psnr", "psnr", "hole_ssim", "ssim", "lpips", "texture")
FIELDS = ("picture", "mask", "method", *SCORES, "seconds", "calls")
MEASURES = ("hole_psnr", "hole_ssim", "psnr", "ssim", "lpips", "texture", "seconds", "calls")


def fill(name: str, x: Tensor, hole: Tensor, prior: Any) -> tuple[Tensor, int]:
    """Return the inpainted image of a method, and its network calls."""
    if name in CLASSICAL:
        mask = Mask(~hole[0])
        likelihood = GaussianLikelihood(operator=mask, y=mask(2 * x - 1))
        return (baselines.restore(f"classical:{name}", likelihood) + 1) / 2, 0
    result = diffprior.inpaint(
        x * ~hole,
        hole,
        prior=prior,
        method=METHODS[name] or None,
        fill="texture" if name == "texture" else "smooth",
        sigma=NOISY.get(name, 0.0),
        samples=SAMPLES.get(name, 1),
    )
    return result.image, result.report["network_calls"]


def score(x: Tensor, truth: Tensor, hole: Tensor) -> dict[str, float | str]:
    """Return the metrics of one inpainted image."""
    a, b = 2 * x - 1, 2 * truth - 1
    row: dict[str, float | str] = {
        "hole_psnr": metrics.psnr(a, b, hole).item(),
        "psnr": metrics.psnr(a, b).item(),
        "hole_ssim": metrics.ssim(a, b, hole).item(),
        "ssim": metrics.ssim(a, b).item(),
        "texture": (metrics.gradient_energy(a, hole) / metrics.gradient_energy(b, hole)).item(),
    }
    try:
        row["lpips"] = metrics.lpips(a, b).item()
    except metrics.MetricError:
        row["lpips"] = "n/a"
    return row


def labeled(strip: dict[str, Tensor]) -> np.ndarray[Any, Any]:
    """Return images in a row, each below its name, as uint8 ``(H, W, 3)``."""
    panels = []
    for name, x in strip.items():
        panel = np.array(arrays.to_pil(2 * x[0] - 1))
        head = np.zeros((18, panel.shape[1], 3), np.uint8)
        cv2.putText(head, name, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1)
        panels.append(np.concatenate([head, panel]))
    return np.concatenate(panels, 1)


def table(rows: list[Row], field: str) -> list[list[str]]:
    """Return the means of a column, methods down and masks across."""
    kinds = [kind for kind in KINDS if any(row["mask"] == kind for row in rows)]
    return tables.table(rows, field, down="method", across=["mask", *kinds])


def write_tables(rows: list[Row], out: Path) -> str:
    """Write ``table.md`` and ``table.csv``; return the former."""
    parts = []
    for field in MEASURES:
        head, *lines = table(rows, field)
        parts.append(f"### {field}\n\n{tables.markdown(head, lines)}\n")
    text = "\n".join(parts)
    (out / "table.md").write_text(text)
    with (out / "table.csv").open("w", newline="") as file:
        for field in MEASURES[:6]:
            csv.writer(file).writerows([field, *cells] for cells in table(rows, field))
    return text


def main(
    images: Annotated[list[str], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder of the rows, the tables and the sheets.")],
    side: Annotated[int, typer.Option(help="Short side in pixels.")] = 256,
    limit: Annotated[int, typer.Option(help="Number of images of each folder.")] = 1000,
    method: Annotated[list[str] | None, typer.Option(help="Run only this method.")] = None,
    mask: Annotated[list[str] | None, typer.Option(help="Use only this mask.")] = None,
    prior: Annotated[str | None, typer.Option(help="Prior, as for diffprior inpaint.")] = None,
) -> None:
    """Run the benchmark."""
    masks = chosen("--mask", mask, KINDS)
    methods = chosen("--method", method, [*CLASSICAL, *METHODS])
    ledger = Ledger(out / "rows.csv", FIELDS, 3)
    model = diffprior.load_prior(prior)
    paths = [path for folder in images for path in files.find([folder])[:limit]]
    for number, file in enumerate(paths):
        truth = load(file, side)
        height, width = truth.shape[-2:]
        strips = []
        for kind in masks:
            hole = draw(kind, height, width, number)[None]
            strip = {"truth": truth, "masked": torch.where(hole, 1.0, truth)}
            for name in methods:
                if (file.name, kind, name) in ledger:
                    continue
                start = time.perf_counter()
                strip[name], calls = fill(name, truth, hole, model)
                seconds = round(time.perf_counter() - start, 3)
                row: Row = {"picture": file.name, "mask": kind, "method": name}
                row |= {"calls": calls, "seconds": seconds}
                ledger.add(row | score(strip[name], truth, hole))
            strips.append(labeled(strip))
        if len({s.shape for s in strips}) == 1 and strips[0].shape[1] > 2 * truth.shape[-1]:
            cv2.imwrite(str(out / f"sheet_{number:02d}.png"), np.concatenate(strips)[..., ::-1])
    print(write_tables(ledger.rows, out))


if __name__ == "__main__":
    run(main)
