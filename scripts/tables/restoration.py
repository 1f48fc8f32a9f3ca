"""Measure the default of every restoration task beside the classical methods.

    python scripts/tables/restoration.py data/samples --out runs/restoration

Degradations are simulated with fixed seeds. Rows go to ``rows.csv`` as they come, and a run that
was stopped goes on; ``table.md`` holds the means. For colors the number is not a PSNR but the root
mean square error in a and b of CIELAB, the less the better.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from benchmark_inpainting import load
from skimage.color import rgb2lab
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.classical import baselines
from diffprior.evaluation.ledger import Ledger
from diffprior.io import files
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.base import Operator
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.blur import Blur
from diffprior.operators.gray import Gray
from diffprior.operators.identity import Identity
from diffprior.random import Noise
from diffprior.runtime.results import Result

FIELDS = ("picture", "problem", "method", "score", "seconds")
CLASSICAL = {
    Identity: ("wavelet", "tv", "nlm"),
    Bicubic: ("bicubic",),
    Blur: ("richardson-lucy", "wiener"),
    Gray: ("grey",),
}


class Problem(NamedTuple):
    """A degradation, its noise in [0, 1], and the task that undoes it, of images in [0, 1]."""

    operator: Operator
    sigma: float
    undo: Callable[[Tensor], Result]


def denoising(level: int) -> Problem:
    sigma = level / 255
    return Problem(Identity(), sigma, lambda y: diffprior.denoise(y, sigma=sigma))


def enlarging(scale: int) -> Problem:
    return Problem(Bicubic(scale), 0.0, lambda y: diffprior.super_resolve(y, scale))


def sharpening(kernel: str, sigma: float) -> Problem:
    A = Blur(kernel)
    return Problem(A, sigma, lambda y: diffprior.deblur(y, A.kernel, sigma=sigma))


PROBLEMS = {
    "denoise 15": denoising(15),
    "denoise 25": denoising(25),
    "denoise 50": denoising(50),
    "upscale 2": enlarging(2),
    "upscale 4": enlarging(4),
    "Gaussian 3.0, 0.01": sharpening("gaussian:3", 0.01),
    "Gaussian 3.0, 0.05": sharpening("gaussian:3", 0.05),
    "motion, 0.01": sharpening("shake:31,0.5,0", 0.01),
    "motion, 0.05": sharpening("shake:31,0.5,0", 0.05),
    "colours": Problem(Gray("luminance"), 0.0, diffprior.colorize),
}


def degraded(problem: Problem, truth: Tensor, seed: int) -> GaussianLikelihood[Operator]:
    """Return the likelihood of a measurement of an image in [0, 1], clipped as a file would be."""
    A = problem.operator.for_shape(tuple(truth.shape[1:]))
    noisy = GaussianLikelihood(operator=A, sigma=2 * problem.sigma)
    measured = noisy.measure(2 * truth - 1, Noise(0, [seed]))
    return replace(measured, y=measured.y.clamp(-1, 1))


def restored(method: str, problem: Problem, likelihood: GaussianLikelihood[Operator]) -> Tensor:
    """Return the image in [0, 1] that a method makes of a measurement."""
    if method == "grey":
        return ((likelihood.y + 1) / 2).expand(-1, 3, -1, -1)
    if method != "default":
        return (baselines.restore(f"classical:{method}", likelihood) + 1) / 2
    image: Tensor = problem.undo((likelihood.y + 1) / 2).image
    return image


def score(problem: str, x: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB, or the error in a and b for colors."""
    if problem == "colours":
        a, b = (rgb2lab(p[0].clamp(0, 1).movedim(0, -1).numpy())[..., 1:] for p in (x, truth))
        return float(((a - b) ** 2).mean() ** 0.5)
    return metrics.psnr(2 * x.float() - 1, 2 * truth - 1).item()


def table(rows: list[dict[str, str]]) -> str:
    """Return the means as markdown: a line for each problem and method."""
    lines = ["| problem | method | score | seconds | n |", "|---|---|---|---|---|"]
    for key in dict.fromkeys((r["problem"], r["method"]) for r in rows):
        mine = [r for r in rows if (r["problem"], r["method"]) == key]
        means = (np.mean([float(r[name]) for r in mine]) for name in ("score", "seconds"))
        lines.append(
            f"| {' | '.join(key)} | {' | '.join(f'{m:.2f}' for m in means)} | {len(mine)} |"
        )
    return "\n".join(lines)


def main(
    images: Annotated[list[str], typer.Argument(help="Images or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of the rows and the table.")],
    side: Annotated[int, typer.Option(help="Short side, in pixels; a multiple of 4.")] = 256,
    limit: Annotated[int, typer.Option(help="How many images of each folder.")] = 1000,
    problem: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
) -> None:
    """Run the benchmark."""
    ledger = Ledger(out / "rows.csv", FIELDS, 3)
    chosen = [p for folder in images for p in files.find([folder])[:limit]]
    for number, image in enumerate(chosen):
        truth = load(image, side)
        truth = truth[..., : truth.shape[-2] // 4 * 4, : truth.shape[-1] // 4 * 4]
        for name in problem or PROBLEMS:
            likelihood = degraded(PROBLEMS[name], truth, number)
            for how in (*CLASSICAL[type(PROBLEMS[name].operator)], "default"):
                if (image.name, name, how) in ledger or (method and how not in method):
                    continue
                start = time.perf_counter()
                x = restored(how, PROBLEMS[name], likelihood)
                row = {"picture": image.name, "problem": name, "method": how}
                row["seconds"] = f"{time.perf_counter() - start:.3f}"
                ledger.add(row | {"score": f"{score(name, x, truth):.4f}"})
    rows = ledger.rows
    (out / "table.md").write_text(table(rows) + "\n")
    print(table(rows))


if __name__ == "__main__":
    typer.run(main)
