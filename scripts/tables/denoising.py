"""Measure one denoising call of a prior beside BM3D and scikit-image's denoisers.

Run ``pip install -e ".[peers]"``, then
``python scripts/tables/denoising.py data/samples path/to/set14 --side 576``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.classical import baselines
from diffprior.io import files
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.identity import Identity
from diffprior.random import Noise

LEVELS = (15, 25, 50)  # of 255
Denoiser = Callable[[Tensor, float], Tensor]


def known(name: str) -> Denoiser:
    """A classical denoiser that is told sigma."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        seen = GaussianLikelihood(operator=Identity(), y=2 * x[None] - 1, sigma=2 * sigma)
        return (baselines.restore(name, seen)[0] + 1) / 2

    return denoise


def bm3d(x: Tensor, sigma: float) -> Tensor:
    """BM3D in its color form, by its authors' package at its default profile, sigma known."""
    from bm3d import bm3d_rgb

    out = bm3d_rgb(x.movedim(0, -1).double().numpy(), sigma)
    return torch.from_numpy(np.ascontiguousarray(out)).movedim(-1, 0).float()


def network(source: str | None, half: bool) -> Denoiser:
    """One call of the prior at the noise's own level."""
    prior = diffprior.load_prior(source)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        t = prior.diffusion.schedule.time(2 * sigma)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            return (prior((2 * x - 1)[None], t)[0].float() + 1) / 2

    return denoise


def center(x: Tensor, side: int) -> Tensor:
    """Return the middle of an image ``(3, H, W)``, at most ``side`` pixels each way."""
    h, w = (min(n, side) for n in x.shape[-2:])
    i, j = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[:, i : i + h, j : j + w].contiguous()


def main(
    images: Annotated[list[str], typer.Argument(help="Images or folders: a table row each.")],
    prior: Annotated[str | None, typer.Option(help="As of the command line.")] = None,
    side: Annotated[int, typer.Option(help="Side of the center that is denoised.")] = 256,
    bf16: Annotated[bool, typer.Option(help="Run the network in bfloat16.")] = True,
    only: Annotated[list[str] | None, typer.Option(help="Only these denoisers.")] = None,
) -> None:
    """Print the PSNR in dB of each denoiser, mean over the images of each folder."""
    denoisers: dict[str, Denoiser] = {
        "noisy": lambda x, sigma: x,
        "wavelet": known("classical:wavelet"),
        "non-local means": known("classical:nlm"),
        "BM3D": bm3d,
        "prior, one call": network(prior, bf16),
    }
    denoisers = {k: v for k, v in denoisers.items() if not only or k in only}
    print("| images | sigma of 255 | " + " | ".join(denoisers) + " |")
    print("|---|---|" + "---|" * len(denoisers))
    for folder in images:
        truths = [
            center((files.read(p).images.tensor()[0] + 1) / 2, side) for p in files.find([folder])
        ]
        for level in LEVELS:
            rows: dict[str, list[float]] = {name: [] for name in denoisers}
            for i, truth in enumerate(truths):
                noisy = truth + level / 255 * Noise(0, [i]).normal(truth[None])[0]
                for name, denoise in denoisers.items():
                    x = 2 * denoise(noisy, level / 255) - 1
                    rows[name].append(metrics.psnr(x[None].float(), 2 * truth[None] - 1).item())
            cells = " | ".join(f"{np.mean(v):.2f}" for v in rows.values())
            print(f"| {Path(folder).name} ({len(truths)}) | {level} | {cells} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
