"""Draw images from a prior, and measure how far their statistics are from those of photographs.

    python scripts/tables/generation.py data/samples --out runs/generation

Distances are 1-Wasserstein distances between the values of single pixels, in units of 1/255. The
second line of each side is the floor: as many crops of photographs, against the others.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

import diffprior
from diffprior.cli.scripts import run
from diffprior.evaluation import tables
from diffprior.io import arrays
from diffprior.operators.gray import WEIGHTS
from diffprior.training.data import Crops
from diffprior.training.photographs import Photographs


def luma(x: Tensor) -> Tensor:
    """Return the luma of images ``(B, 3, H, W)``, of shape ``(B, H, W)``."""
    return torch.einsum("bchw,c->bhw", x, x.new_tensor(WEIGHTS["luminance"]))


def chroma(x: Tensor) -> Tensor:
    """Return the range of the channels of each pixel, largest minus smallest."""
    return x.amax(1) - x.amin(1)


def gradient(x: Tensor) -> Tensor:
    """Return the length of the gradient of the luma."""
    y = luma(x)
    return torch.hypot(y.diff(dim=1)[:, :, :-1], y.diff(dim=2)[:, :-1])


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "luma": luma,
    "chroma": chroma,
    "gradient": gradient,
}


def distance(a: Tensor, b: Tensor) -> float:
    """Return the mean difference of equal quantiles of two sets of numbers."""
    q = (np.arange(2000) + 0.5) / 2000
    return float(np.abs(np.quantile(a.numpy(), q) - np.quantile(b.numpy(), q)).mean())


def sheet(x: Tensor, across: int = 4) -> Tensor:
    """Return images ``(B, 3, H, W)`` as one image, ``(3, rows * H, across * W)``."""
    rows = [torch.cat(list(row), -1) for row in torch.split(x, across)]
    return torch.cat(rows, -2)


def main(
    photographs: Annotated[list[Path], typer.Argument(help="Folders or ZIP files of photographs.")],
    out: Annotated[Path, typer.Option(help="Folder of the sheets.")],
    side: Annotated[list[int], typer.Option(help="Side of the images in pixels.")] = [64, 256],  # noqa: B006
    count: Annotated[int, typer.Option(help="Number of images of each side.")] = 16,
    sampler: Annotated[str | None, typer.Option(help="Sampler, as for diffprior generate.")] = None,
    prior: Annotated[str | None, typer.Option(help="Prior, as for diffprior generate.")] = None,
) -> None:
    """Write a sheet of images for each side, and print the table of distances."""
    out.mkdir(parents=True, exist_ok=True)
    model = diffprior.load_prior(prior)
    images = Photographs(photographs, held_out=10**9)
    lines = []
    for n in side:
        settings: dict[str, Any] = {"width": n, "height": n, "prior": model, "sampler": sampler}
        results = [diffprior.generate(**settings, seed=seed).image for seed in range(count)]
        x = torch.stack([torch.from_numpy(np.array(image)) for image in results]).movedim(-1, 1)
        arrays.to_pil(sheet(x / 127.5 - 1)).save(out / f"{n}.png")
        rng = np.random.default_rng(0)
        crops, _ = images.batch(rng, 16 * count, n, Crops(half=0, quarter=0, turn=0))
        data = crops.float()
        for name, part in (("drawn", x.float()), ("photographs", data[:count])):
            cells = [f"{distance(f(part), f(data[count:])):.1f}" for f in STATISTICS.values()]
            lines.append([str(n), f"{count} {name}", *cells])
    print(tables.markdown(["side", "images", *STATISTICS], lines))


if __name__ == "__main__":
    run(main)
