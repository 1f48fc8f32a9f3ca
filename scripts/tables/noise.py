"""Measure how well the noise of an image is found, in color and in gray, and what is left of it.

python scripts/tables/noise.py data/samples --limit 5 --side 160
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

import diffprior
from diffprior.classical import baselines
from diffprior.evaluation import tables
from diffprior.io import files
from diffprior.io.arrays import LUMA
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.identity import Identity
from diffprior.random import Noise

LEVELS = (5, 10, 15, 25, 50)  # in units of 1/255
KINDS = ("color", "gray")


def rounded(x: Tensor) -> Tensor:
    """Return an image as a file of 8 bits holds it."""
    return (255 * x.clamp(0, 1)).round() / 255


def center(x: Tensor, side: int) -> Tensor:
    """Return the center of an image ``(3, H, W)``, at most ``side`` pixels high and wide."""
    h, w = (min(n, side) for n in x.shape[-2:])
    i, j = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[:, i : i + h, j : j + w].contiguous()


def gray(x: Tensor) -> Tensor:
    """Return the luma of an image, ``(1, H, W)``."""
    return (torch.tensor(LUMA)[:, None, None] * x).sum(0, keepdim=True)


def psnr(x: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB of an image in [0, 1]."""
    return float(-10 * (x.clamp(0, 1) - truth).square().mean().log10())


def non_local_means(y: Tensor, sigma: float) -> Tensor:
    """Return what scikit-image makes of an image with known noise."""
    colors = 2 * y.expand(1, 3, -1, -1) - 1
    noisy = GaussianLikelihood(operator=Identity(), y=colors, sigma=2 * sigma)
    x: Tensor = (baselines.restore("classical:nlm", noisy)[0] + 1) / 2
    return x[: len(y)]


def row(truths: list[Tensor], level: int) -> list[str]:
    """Return the estimates of a noise level, and the mean PSNR of what is made of the images."""
    found = []
    scores = []
    for i, truth in enumerate(truths):
        y = rounded(truth + level / 255 * Noise(0, [i]).normal(truth[None])[0])
        out = diffprior.denoise(y)
        found.append(255 * out.report["sigma"][0])
        by_patches = non_local_means(y, level / 255)
        scores.append([psnr(x, truth) for x in (y, by_patches, out.image)])
    spread = f"{min(found):.1f} to {max(found):.1f}"
    return [spread, *(f"{score:.2f}" for score in np.mean(scores, 0))]


def main(
    images: Annotated[list[str], typer.Argument(help="Images or folders.")],
    side: Annotated[int, typer.Option(help="Largest side of the center, in pixels.")] = 160,
    limit: Annotated[int, typer.Option(help="Number of images.")] = 5,
    level: Annotated[list[int] | None, typer.Option(help="Run only this noise level.")] = None,
) -> None:
    """Print the noise that ``denoise`` finds, and the PSNR in dB, mean over the images."""
    paths: list[Path] = files.find(images)[:limit]
    colors = [center((files.read(p).images.tensor()[0] + 1) / 2, side) for p in paths]
    truths = {"color": colors, "gray": [rounded(gray(x)) for x in colors]}
    levels = level or LEVELS
    lines = [[kind, str(s), *row(truths[kind], s)] for kind in KINDS for s in levels]
    head = ["images", "noise, of 255", "found", "noisy", "non-local means", "diffprior denoise"]
    print(tables.markdown(head, lines))


if __name__ == "__main__":
    typer.run(main)
