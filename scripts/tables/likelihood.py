"""Measure the bits per dimension of the shipped priors, beside PNG, WebP and published figures.

    python scripts/tables/likelihood.py data/samples data/fashion/pictures.npz

``--only`` prints one of the tables: photo, fashion, flow, curve or heartbeat.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

import diffprior
from diffprior.cli.scripts import chosen, run
from diffprior.densities import variational_bound
from diffprior.densities.nonequilibrium import nonequilibrium_bound
from diffprior.evaluation import tables
from diffprior.evaluation.fit import Fit, FitSettings, measure_fit
from diffprior.io import files
from diffprior.io.arrays import Images, as_images
from diffprior.priors.base import Prior
from diffprior.priors.bits import BitsPrior
from diffprior.random import Noise
from diffprior.schedules import grid

STEPS = 1000  # of a chain as DDPM has it
FEW = FitSettings(windows=1, draws=1)
LECTURES = [  # test images of CIFAR-10, 32 x 32, as published
    ["DDPM, L (Ho et al., 2020)", "CIFAR-10", "800,000 steps of 128 images", "<= 3.70"],
    ["DDPM, L_simple (Ho et al., 2020)", "CIFAR-10", "800,000 steps of 128 images", "<= 3.75"],
    ["Score SDE, the best, exact (Song et al., 2021)", "CIFAR-10", "as published", "2.99"],
]


def mean(fits: Sequence[Fit], field: str) -> str:
    """Return the mean of a figure over images, with its standard error."""
    values = [getattr(fit, field) for fit in fits]
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{fmean(values):.3f} ({error:.3f})"


def line(name: str, data: str, about: str, fits: Sequence[Fit]) -> list[str]:
    """Return a row of the first tables."""
    return [name, data, about, *(mean(fits, field) for field in ("bits", "png", "webp"))]


def measured(prior: Prior, images: Sequence[Images], settings: FitSettings) -> list[Fit]:
    """Return the fits of images."""
    return [measure_fit(prior, image, settings) for image in images]


def photo_table(photos: Sequence[Images], shirts: Sequence[Images]) -> None:
    """Print the shipped prior of photographs on photographs."""
    prior = diffprior.load_prior()
    about = "6 hours on one CPU core, 2,470 photographs"
    lines = [
        line("photo, bound, middle 128 x 128", "gb82", about, measured(prior, photos, FEW)),
        line(
            "photo, bound, four parts",
            "gb82",
            about,
            measured(prior, photos, replace(FEW, windows=4)),
        ),
    ]
    print(tables.markdown(["prior", "images", "training", "bits (SE)", "PNG", "WebP"], lines))
    print()
    print(tables.markdown(["published", "images", "training", "bits"], LECTURES))


def fashion_table(photos: Sequence[Images], shirts: Sequence[Images]) -> None:
    """Print the shipped prior of clothes on test pictures that it never saw."""
    prior = diffprior.load_prior("fashion")
    about = "85 minutes on one CPU core, 60,000 pictures"
    name = "fashion, bound in the limit"
    lines = [line(name, "Fashion-MNIST", about, measured(prior, shirts, FEW))]
    print(tables.markdown(["prior", "images", "training", "bits (SE)", "PNG", "WebP"], lines))


def flow_table(photos: Sequence[Images], shirts: Sequence[Images]) -> None:
    """Print the bound beside the exact flow, on few pictures of clothes."""
    prior, few = diffprior.load_prior("fashion"), shirts[:: max(1, len(shirts) // 8)][:8]
    kinds = {
        "bound, limit of many steps": FEW,
        "flow, variational dequantization": replace(
            FEW, by="flow", dequantization="variational", probes=4
        ),
        "flow, uniform dequantization": replace(FEW, by="flow", probes=4),
    }
    lines = [[k, str(len(few)), mean(measured(prior, few, v), "bits")] for k, v in kinds.items()]
    print(tables.markdown(["fashion", "pictures", "bits (SE)"], lines))


def curve_table(photos: Sequence[Images], shirts: Sequence[Images]) -> None:
    """Print rate and distortion of progressive coding on pictures of clothes, in 1000 steps."""
    prior = diffprior.load_prior("fashion")
    times = grid(prior.diffusion.schedule, "logsnr", STEPS)
    rates, errors = [], []
    for shirt in shirts[:: max(1, len(shirts) // 4)][:4]:
        x = prior.encode(shirt.tensor())
        curve = variational_bound(prior, x, times, Noise(0)).curve()
        rates.append(curve.rate[0])
        errors.append(curve.distortion[0])
    rate, error = torch.stack(rates).mean(0), torch.stack(errors).square().mean(0).sqrt()
    places = torch.linspace(0, STEPS, 11).long().tolist() + [STEPS + 1]
    lines = [[f"{places[k]}", f"{rate[i]:.3f}", f"{error[i]:.2f}"] for k, i in enumerate(places)]
    print(tables.markdown(["step of 1000", "rate, bits per dimension", "RMSE of 255"], lines))


def heartbeat_table(photos: Sequence[Images], shirts: Sequence[Images]) -> None:
    """Print the bound K of 2015 for the binary heartbeat, by the exact denoiser."""
    patterns = torch.eye(5, dtype=torch.float64).repeat(1, 4)
    prior = BitsPrior(torch.ones(5, dtype=torch.float64), patterns.clamp(1e-6, 1 - 1e-6))
    x = patterns.repeat(200, 1)
    lines = [[str(steps), *heartbeat(prior, x, steps)] for steps in (10, 100, 1000)]
    lines.append(["2015, learned, 2000", "-2.414", ""])
    lines.append(["truth, -log2 5", f"{-math.log2(5):.3f}", ""])
    print(tables.markdown(["steps", "K, bits a sequence", "standard error"], lines))


def heartbeat(prior: BitsPrior, x: Tensor, steps: int) -> list[str]:
    """Return K of a chain in bits, and its standard error."""
    times = grid(prior.diffusion.schedule, "time", steps)[:-1]
    k = nonequilibrium_bound(prior, x, times, Noise(0, range(len(x)))) / math.log(2)
    return [f"{k.mean().item():.3f}", f"{k.std().item() / len(x) ** 0.5:.3f}"]


TABLES: dict[str, Callable[[Sequence[Images], Sequence[Images]], None]] = {
    "photo": photo_table,
    "fashion": fashion_table,
    "flow": flow_table,
    "curve": curve_table,
    "heartbeat": heartbeat_table,
}


def main(
    photographs: Annotated[str, typer.Argument(help="A folder of photographs.")],
    clothes: Annotated[Path, typer.Argument(help="An .npz file with pictures of clothes.")],
    only: Annotated[list[str] | None, typer.Option(help="Print only this table.")] = None,
    limit: Annotated[int, typer.Option(help="Number of images of each kind.")] = 1000,
) -> None:
    """Print bits per dimension; in brackets the standard error of the mean over the images."""
    names = chosen("--only", only, [*TABLES])
    photos = [files.read(path).images for path in files.find([photographs])[:limit]]
    shirts = [as_images(x) for x in np.load(clothes)["x"][:limit]]
    for name in names:
        print(f"\n{name}\n")
        TABLES[name](photos, shirts)


if __name__ == "__main__":
    run(main)
