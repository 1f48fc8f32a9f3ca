"""Measure every inpainting method beside the classical ones, over the hole and over the image.

    python scripts/tables/inpainting.py data/samples --out runs/inpainting

Rows go to ``rows.csv`` as they come, and a run that was stopped goes on; ``table.md`` and
``table.csv`` hold the means, the sheets the images to look at.
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
from diffprior.evaluation.ledger import Ledger
from diffprior.io import arrays, files
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
NOISY = {"smc": 0.01}  # the sigma that a method needs: densities of exact data there are none
SAMPLES = {"smc": 4}
CLASSICAL = ("telea", "navier-stokes", "biharmonic")
FIELDS = ("picture", "mask", "method", "hole_psnr", "psnr", "hole_ssim", "ssim", "lpips")
FIELDS += ("texture", "seconds", "calls")


def fill(name: str, x: Tensor, hole: Tensor, prior: Any) -> tuple[Tensor, int]:
    """Return the fill of a method and its network calls."""
    if name in CLASSICAL:
        seen = Mask(~hole[0])
        given = GaussianLikelihood(operator=seen, y=seen(2 * x - 1))
        return (baselines.restore(f"classical:{name}", given) + 1) / 2, 0
    result = diffprior.inpaint(
        x * ~hole,
        hole,
        prior=prior,
        method=METHODS[name] or None,
        texture=name == "texture",
        sigma=NOISY.get(name, 0.0),
        samples=SAMPLES.get(name, 1),
    )
    return result.image, result.report["network_calls"]


def score(x: Tensor, truth: Tensor, hole: Tensor) -> dict[str, float | str]:
    """Return the metrics of one fill."""
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


def load(path: Path, side: int) -> Tensor:
    """Return an image ``(1, 3, H, W)`` in [0, 1] with its short side at ``side``."""
    x = (files.read(path).images.tensor() + 1) / 2
    scale = side / min(x.shape[-2:])
    size = tuple(round(n * scale) for n in x.shape[-2:])
    array = cv2.resize(x[0].movedim(0, -1).numpy(), size[::-1], interpolation=cv2.INTER_AREA)
    return (torch.from_numpy(array).movedim(-1, 0)[None] * 255).round() / 255


def labelled(strip: dict[str, Tensor]) -> np.ndarray[Any, Any]:
    """Return images side by side, each under its name, as uint8 ``(H, W, 3)``."""
    panels = []
    for name, x in strip.items():
        panel = np.array(arrays.to_pil(2 * x[0] - 1))
        head = np.zeros((18, panel.shape[1], 3), np.uint8)
        cv2.putText(head, name, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1)
        panels.append(np.concatenate([head, panel]))
    return np.concatenate(panels, 1)


def table(rows: list[dict[str, str]], key: str) -> list[list[str]]:
    """Return the means of a column, methods down and masks across."""
    names = list(dict.fromkeys(r["method"] for r in rows))
    kinds = [k for k in KINDS if any(r["mask"] == k for r in rows)]
    out = [["method", *kinds, "n"]]
    for name in names:
        mine = [r for r in rows if r["method"] == name]
        cells = []
        for kind in kinds:
            values = [float(r[key]) for r in mine if r["mask"] == kind and r[key] != "n/a"]
            cells.append(f"{np.mean(values):.2f}" if values else "n/a")
        out.append([name, *cells, str(len(mine))])
    return out


def markdown(cells: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]])


def main(
    images: Annotated[list[str], typer.Argument(help="Images or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of the rows, the tables and the sheet.")],
    side: Annotated[int, typer.Option(help="Short side, in pixels.")] = 256,
    limit: Annotated[int, typer.Option(help="How many images of each folder.")] = 1000,
    method: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    mask: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    prior: Annotated[str | None, typer.Option(help="As of the command line.")] = None,
) -> None:
    """Run the benchmark."""
    ledger, model = Ledger(out / "rows.csv", FIELDS, 3), diffprior.load_prior(prior)
    names = method or [*CLASSICAL, *METHODS]
    chosen = [p for folder in images for p in files.find([folder])[:limit]]
    for number, file in enumerate(chosen):
        truth, strips = load(file, side), []
        for kind in mask or KINDS:
            hole = draw(kind, *truth.shape[-2:], number)[None]
            strip = {"truth": truth, "given": torch.where(hole, 1.0, truth)}
            for name in names:
                if (file.name, kind, name) in ledger:
                    continue
                start = time.perf_counter()
                strip[name], calls = fill(name, truth, hole, model)
                seconds = time.perf_counter() - start
                row = {"picture": file.name, "mask": kind, "method": name, "calls": calls}
                row |= {"seconds": round(seconds, 3), **score(strip[name], truth, hole)}
                ledger.add(row)
            strips.append(labelled(strip))
        if len({s.shape for s in strips}) == 1 and strips[0].shape[1] > 2 * truth.shape[-1]:
            cv2.imwrite(str(out / f"sheet_{number:02d}.png"), np.concatenate(strips)[..., ::-1])
    rows, text = ledger.rows, []
    for key in ("hole_psnr", "hole_ssim", "psnr", "ssim", "lpips", "texture", "seconds", "calls"):
        text.append(f"### {key}\n\n{markdown(table(rows, key))}\n")
    (out / "table.md").write_text("\n".join(text))
    with (out / "table.csv").open("w", newline="") as table_file:
        for key in ("hole_psnr", "hole_ssim", "psnr", "ssim", "lpips", "texture"):
            csv.writer(table_file).writerows([key, *cells] for cells in table(rows, key))
    print("\n".join(text))


if __name__ == "__main__":
    typer.run(main)
