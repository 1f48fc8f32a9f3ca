"""Measure one denoising call of a prior next to BM3D and the denoisers of scikit-image.

pip install -e ".[peers]"
python scripts/tables/denoising.py data/samples path/to/set14 --side 576
"""

import sys
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
from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables
from diffprior.io import files
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.identity import Identity
from diffprior.random import Noise

LEVELS = (15, 25, 50)  # noise levels, in units of 1/255
Denoiser = Callable[[Tensor, float], Tensor]


def classical(name: str) -> Denoiser:
    """Return a classical denoiser that knows the noise level."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        noisy = GaussianLikelihood(operator=Identity(), y=2 * x[None] - 1, sigma=2 * sigma)
        return (baselines.restore(name, noisy)[0] + 1) / 2

    return denoise


def bm3d(x: Tensor, sigma: float) -> Tensor:
    """Return the result of BM3D for color images, by the package of its authors."""
    try:
        from bm3d import bm3d_rgb
    except ImportError:
        sys.exit(
            "BM3D needs its package: pip install 'diffprior[peers]', or choose others by --only"
        )
    out: np.ndarray = bm3d_rgb(x.movedim(0, -1).double().numpy(), sigma)
    return torch.from_numpy(np.ascontiguousarray(out)).movedim(-1, 0).float()


def network(source: str | None, half: bool) -> Denoiser:
    """Return the denoiser of one call of a prior at the noise level."""
    prior = diffprior.load_prior(source)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        t = prior.diffusion.schedule.time(2 * sigma)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            x_0: Tensor = prior((2 * x - 1)[None], t)
        return (x_0[0].float() + 1) / 2

    return denoise


def center(x: Tensor, side: int) -> Tensor:
    """Return the center of an image ``(3, H, W)``, at most ``side`` pixels high and wide."""
    h, w = (min(n, side) for n in x.shape[-2:])
    i, j = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[:, i : i + h, j : j + w].contiguous()


def scores(truths: list[Tensor], level: int, denoisers: dict[str, Denoiser]) -> list[str]:
    """Return the mean PSNR in dB of each denoiser, at a noise level in units of 1/255."""
    values: dict[str, list[float]] = {name: [] for name in denoisers}
    for i, truth in enumerate(truths):
        noisy = truth + level / 255 * Noise(0, [i]).normal(truth[None])[0]
        for name, denoise in denoisers.items():
            x = 2 * denoise(noisy, level / 255) - 1
            values[name].append(metrics.psnr(x[None].float(), 2 * truth[None] - 1).item())
    return [f"{np.mean(v):.2f}" for v in values.values()]


def main(
    images: Annotated[list[str], typer.Argument(help="Images or folders; each is a part.")],
    prior: Annotated[str | None, typer.Option(help="Prior, as for diffprior denoise.")] = None,
    side: Annotated[int, typer.Option(help="Largest side of the center, in pixels.")] = 256,
    bf16: Annotated[bool, typer.Option(help="Run the network in bfloat16.")] = True,
    only: Annotated[list[str] | None, typer.Option(help="Run only this denoiser.")] = None,
    level: Annotated[list[int] | None, typer.Option(help="Run only this noise level.")] = None,
    limit: Annotated[int, typer.Option(help="Number of images of each folder.")] = 1000,
) -> None:
    """Print the PSNR in dB of each denoiser, the mean over the images of each folder."""
    denoisers: dict[str, Denoiser] = {
        "noisy": lambda x, sigma: x,
        "wavelet": classical("classical:wavelet"),
        "non-local means": classical("classical:nlm"),
        "BM3D": bm3d,
        "prior, one call": network(prior, bf16),
    }
    names = chosen("--only", only, [*denoisers])
    denoisers = {k: v for k, v in denoisers.items() if k in names}
    lines = []
    for folder in images:
        paths = files.find([folder])[:limit]
        truths = [center((files.read(p).images.tensor()[0] + 1) / 2, side) for p in paths]
        for sigma in level or LEVELS:
            name = f"{Path(folder).name} ({len(truths)})"
            lines.append([name, str(sigma), *scores(truths, sigma, denoisers)])
    print(tables.markdown(["images", "sigma of 255", *denoisers], lines))


if __name__ == "__main__":
    run(main)
