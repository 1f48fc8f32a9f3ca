"""Draw images from a prior alone, and measure how far their statistics are from photographs'.

    python scripts/tables/generation.py data/samples --out runs/generation

Distances are of Wasserstein's first kind between the values of single pixels, in units of 1/255,
beside the floor: as many crops of the photographs, against the rest of them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

import diffprior
from diffprior.io import arrays
from diffprior.training.photographs import Crops, Photographs

LUMA = torch.tensor([0.299, 0.587, 0.114])


def luma(x: Tensor) -> Tensor:
    return torch.einsum("bchw,c->bhw", x, LUMA)


def chroma(x: Tensor) -> Tensor:
    """Return how far each pixel's channels spread, largest minus smallest."""
    return x.amax(1) - x.amin(1)


def gradient(x: Tensor) -> Tensor:
    """Return the length of the luma's gradient."""
    y = luma(x)
    return torch.hypot(y.diff(dim=1)[:, :, :-1], y.diff(dim=2)[:, :-1])


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "luma": luma,
    "chroma": chroma,
    "gradient": gradient,
}


def distance(a: Tensor, b: Tensor) -> float:
    """Return the mean distance of equal quantiles of two sets of numbers."""
    q = (np.arange(2000) + 0.5) / 2000
    return float(np.abs(np.quantile(a.numpy(), q) - np.quantile(b.numpy(), q)).mean())


def sheet(x: Tensor, across: int = 4) -> Tensor:
    """Return images ``(B, 3, H, W)`` as one, ``(3, rows H, across W)``."""
    rows = [torch.cat(list(row), -1) for row in torch.split(x, across)]
    return torch.cat(rows, -2)


def main(
    photographs: Annotated[list[Path], typer.Argument(help="Folders or zips of photographs.")],
    out: Annotated[Path, typer.Option(help="Folder of the sheets.")],
    side: Annotated[list[int], typer.Option(help="Sides of the images.")] = [64, 256],  # noqa: B006
    count: Annotated[int, typer.Option(help="Images of each side.")] = 16,
    sampler: Annotated[str | None, typer.Option(help="As of the command line.")] = None,
    prior: Annotated[str | None, typer.Option(help="As of the command line.")] = None,
) -> None:
    """Write a sheet for each side, and print the table of distances."""
    out.mkdir(parents=True, exist_ok=True)
    model = diffprior.load_prior(prior)
    images = Photographs(photographs, held_out=10**9)
    print("| side | images | " + " | ".join(STATISTICS) + " |")
    print("|---|---|" + "---|" * len(STATISTICS))
    for n in side:
        drawn = [
            diffprior.generate(width=n, height=n, prior=model, seed=i, sampler=sampler).image
            for i in range(count)
        ]
        x = torch.stack([torch.from_numpy(np.array(image)) for image in drawn]).movedim(-1, 1)
        arrays.to_pil(sheet(x / 127.5 - 1)).save(out / f"{n}.png")
        rng = np.random.default_rng(0)
        data = images.batch(rng, 16 * count, n, Crops(half=0, quarter=0, turn=0)).float()
        for name, some in (("drawn", x.float()), ("photographs", data[:count])):
            cells = [f"{distance(f(some), f(data[count:])):.1f}" for f in STATISTICS.values()]
            print(f"| {n} | {count} {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    typer.run(main)
