"""Measure the time of one network call, and time and memory of the default inpainting.

python scripts/tables/speed.py data/samples/dog.png
"""

import resource
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer
from torch import Tensor

import diffprior
from diffprior.cli.scripts import run
from diffprior.evaluation import tables
from diffprior.io import files
from diffprior.operators.generators.masks import draw
from diffprior.priors.base import Prior
from diffprior.runtime.placement import device_of, prepare_prior


def load(path: Path, side: int) -> Tensor:
    """Return a square of an image ``(3, side, side)``, mirrored if the image is too small."""
    x = (files.read(path).images.tensor() + 1) / 2
    while min(x.shape[-2:]) < side:
        x = torch.cat([x, x.flip(-1)], -1)
        x = torch.cat([x, x.flip(-2)], -2)
    return x[0, :, :side, :side].contiguous()


def peak_memory() -> float:
    """Return the peak memory of this process, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def one_call(prior: Prior, image: Path, sides: list[int], repeats: int) -> None:
    """Print the median seconds of one call of the prior, placed as tasks do."""
    lines = []
    for n in sides:
        x = 2 * load(image, n)[None] - 1
        model = prepare_prior(prior, x.shape[1:])
        times = []
        for _ in range(repeats + 1):  # the first is a warm-up
            start = time.perf_counter()
            with torch.no_grad():
                model(x.to(model.like), torch.tensor(0.2, dtype=torch.float64)).cpu()
            times.append(time.perf_counter() - start)
        seconds = median(times[1:])
        lines.append([str(n), f"{seconds:.3f}", f"{n * n / seconds / 1e6:.2f}"])
    head = ["side", "one denoising call, seconds", "megapixels a second"]
    print(tables.markdown(head, lines), flush=True)


def inpaintings(prior: Prior, image: Path, sides: list[int], repeats: int) -> None:
    """Print seconds, network calls, time outside of the network, and memory of the default."""
    lines = []
    for n in sides:
        x = load(image, n)
        hole = draw("pixels50", n, n, 0)
        seconds = []
        overhead = []
        calls = 0
        for _ in range(repeats):
            start = time.perf_counter()
            report = diffprior.inpaint(x, hole, prior=prior).report
            seconds.append(time.perf_counter() - start)
            overhead.append(seconds[-1] / report["network_seconds"] - 1)
            calls = report["network_calls"]
        cells = f"{median(seconds):.1f}", str(calls), f"{100 * median(overhead):.1f}%"
        lines.append([str(n), *cells, f"{peak_memory():.2f}"])
    head = ["side", "seconds", "network calls", "beyond the network", "peak memory, GiB"]
    print(tables.markdown(head, lines), flush=True)


def invariance(prior: Prior, image: Path, batch: int) -> float:
    """Return the largest difference between a batch and its images alone, in units of [0, 1]."""
    x = load(image, 256)
    xs = torch.stack([x.roll(17 * k, -1) for k in range(batch)])
    holes = torch.stack([draw("pixels50", 256, 256, k) for k in range(batch)])
    together = diffprior.inpaint(xs, holes, prior=prior).image
    alone = [diffprior.inpaint(xs[k], holes[k], prior=prior).image for k in range(batch)]
    difference: Tensor = together - torch.stack(alone)
    return difference.abs().max().item()


def main(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    call: Annotated[list[int], typer.Option(help="Side of a call, pixels.")] = [256, 512, 1024],  # noqa: B006
    side: Annotated[list[int], typer.Option(help="Side of an inpainting, pixels.")] = [256, 512],  # noqa: B006
    repeats: Annotated[int, typer.Option(help="Number of runs; the median is printed.")] = 3,
    batch: Annotated[int, typer.Option(help="Images of the invariance check; 0 for none.")] = 8,
) -> None:
    """Print the tables of one call and of inpainting, and how far a batch is from its images."""
    prior = diffprior.load_prior(device=device_of(None))
    one_call(prior, image, call, repeats)
    print()
    inpaintings(prior, image, side, repeats)
    if batch:
        worst = invariance(prior, image, batch)
        print(f"\nbatch of {batch} at 256: largest difference from the images alone {worst:.1e}")


if __name__ == "__main__":
    run(main)
