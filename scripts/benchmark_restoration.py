"""Measure the default of every restoration task beside the classical methods.

    python scripts/benchmark_restoration.py data/samples --out runs/restoration

Degradations are simulated with fixed seeds. Rows go to ``rows.csv`` as they come, and a run that
was stopped goes on; ``table.md`` holds the means. For colours the number is not a PSNR but the root
mean square error in a and b of CIELAB, the less the better.
"""

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import typer
from benchmark_denoising import nlm, wavelet
from benchmark_inpainting import load
from skimage.color import rgb2lab
from skimage.restoration import richardson_lucy, unsupervised_wiener
from torch import Tensor

import diffprior
from diffprior import blurs, files, metrics
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.blur import Blur
from diffprior.operators.grey import Grey
from diffprior.random import Noise

Restore = Callable[[Tensor], Tensor]
FIELDS = ("picture", "problem", "method", "score", "seconds")


class Problem(NamedTuple):
    """A degradation of pictures ``(1, 3, H, W)`` in [0, 1], and what undoes it, by name."""

    degrade: Callable[[Tensor, int], Tensor]
    methods: dict[str, Restore]


def noisy(x: Tensor, sigma: float, seed: int) -> Tensor:
    return x + sigma * Noise(0, [seed]).normal(x)


def each(restore: Callable[[np.ndarray[Any, Any]], Any], margin: int) -> Restore:
    """Return a map of pictures from one of single channels, mirrored beyond their borders.

    The classical methods take a picture to be black, or itself again, beyond its border.
    """

    def whole(y: Tensor) -> Tensor:
        wide = F.pad(y.double(), (margin,) * 4, mode="reflect")[0]
        out = torch.stack([torch.as_tensor(restore(c.numpy())) for c in wide])[None]
        return out[..., margin:-margin, margin:-margin]

    return whole


def denoising(level: int) -> Problem:
    sigma = level / 255
    return Problem(
        lambda x, seed: noisy(x, sigma, seed).clamp(0, 1),
        {
            "wavelet": lambda y: wavelet(y[0], sigma)[None],
            "non-local means": lambda y: nlm(y[0], sigma)[None],
            "default": lambda y: diffprior.denoise(y, sigma=sigma).image,
        },
    )


def enlarging(scale: int) -> Problem:
    def degrade(x: Tensor, seed: int) -> Tensor:
        return ((Bicubic(scale).on(x.shape[1:])(2 * x - 1) + 1) / 2).clamp(0, 1)

    return Problem(
        degrade,
        {
            "bicubic": lambda y: F.interpolate(y, scale_factor=scale, mode="bicubic"),
            "default": lambda y: diffprior.super_resolve(y, scale).image,
        },
    )


def sharpening(kernel: str, sigma: float) -> Problem:
    k = blurs.kernel(kernel)
    psf = k.double().numpy()
    blur, margin = Blur(k), 2 * max(k.shape)
    return Problem(
        lambda x, seed: noisy((blur(2 * x - 1) + 1) / 2, sigma, seed).clamp(0, 1),
        {
            "Richardson-Lucy": each(lambda c: richardson_lucy(c, psf, num_iter=30), margin),
            "Wiener": each(lambda c: unsupervised_wiener(c, psf, rng=0)[0], margin),
            "default": lambda y: diffprior.deblur(y, k, sigma=sigma).image,
        },
    )


def colouring() -> Problem:
    grey = Grey("luminance")
    return Problem(
        lambda x, seed: grey(x),
        {
            "grey": lambda y: y.expand(-1, 3, -1, -1),
            "default": lambda y: diffprior.colorize(y).image,
        },
    )


PROBLEMS = {
    "denoise 15": lambda: denoising(15),
    "denoise 25": lambda: denoising(25),
    "denoise 50": lambda: denoising(50),
    "upscale 2": lambda: enlarging(2),
    "upscale 4": lambda: enlarging(4),
    "Gaussian 3.0, 0.01": lambda: sharpening("gaussian:3", 0.01),
    "Gaussian 3.0, 0.05": lambda: sharpening("gaussian:3", 0.05),
    "motion, 0.01": lambda: sharpening("shake:31,0.5,0", 0.01),
    "motion, 0.05": lambda: sharpening("shake:31,0.5,0", 0.05),
    "colours": colouring,
}


def score(problem: str, x: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB, or the error in a and b for colours."""
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
    pictures: Annotated[list[str], typer.Argument(help="Pictures or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of the rows and the table.")],
    side: Annotated[int, typer.Option(help="Short side, in pixels; a multiple of 4.")] = 256,
    limit: Annotated[int, typer.Option(help="How many pictures of each folder.")] = 1000,
    problem: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
) -> None:
    """Run the benchmark."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "rows.csv"
    rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    done = {(r["picture"], r["problem"], r["method"]) for r in rows}
    with path.open("a", newline="", buffering=1) as file:
        writer = csv.DictWriter(file, FIELDS)
        if not rows:
            writer.writeheader()
        chosen = [p for folder in pictures for p in files.find([folder])[:limit]]
        for number, picture in enumerate(chosen):
            truth = load(picture, side)
            truth = truth[..., : truth.shape[-2] // 4 * 4, : truth.shape[-1] // 4 * 4]
            for name in problem or PROBLEMS:
                degrade, methods = PROBLEMS[name]()
                y = degrade(truth, number)
                for method, restore in methods.items():
                    if (picture.name, name, method) in done:
                        continue
                    start = time.perf_counter()
                    x = restore(y)
                    row = {"picture": picture.name, "problem": name, "method": method}
                    row["seconds"] = f"{time.perf_counter() - start:.3f}"
                    row["score"] = f"{score(name, x, truth):.4f}"
                    rows.append(row)
                    writer.writerow(row)
    (out / "table.md").write_text(table(rows) + "\n")
    print(table(rows))


if __name__ == "__main__":
    typer.run(main)
