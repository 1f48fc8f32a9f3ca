"""Measure the time of one denoising call, and time, memory and batches of the default inpainting.

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
from diffprior.io import files
from diffprior.operators.generators.masks import draw
from diffprior.priors.base import Prior
from diffprior.runtime.placement import device_of, prepare_prior


def load(path: Path, side: int) -> Tensor:
    """Return the image, mirrored to be large enough, cut to a square of this side."""
    x = (files.read(path).images.tensor() + 1) / 2
    while min(x.shape[-2:]) < side:
        x = torch.cat([x, x.flip(-1)], -1)
        x = torch.cat([x, x.flip(-2)], -2)
    return x[0, :, :side, :side].contiguous()


def peak() -> float:
    """Return the most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def one_call(prior: Prior, image: Path, sides: list[int], repeats: int) -> None:
    """Print the median seconds of one call of the prior, as a task makes it."""
    print("| side | one denoising call, seconds | megapixels a second |")
    print("|---|---|---|")
    for n in sides:
        x = 2 * load(image, n)[None] - 1
        model, times = prepare_prior(prior, x.shape[1:]), []
        for _ in range(repeats + 1):  # the first is a warm-up
            start = time.perf_counter()
            with torch.no_grad():
                model(x.to(model.like), torch.tensor(0.2, dtype=torch.float64)).cpu()
            times.append(time.perf_counter() - start)
        seconds = median(times[1:])
        print(f"| {n} | {seconds:.3f} | {n * n / seconds / 1e6:.2f} |", flush=True)


def fillings(prior: Prior, image: Path, sides: list[int], repeats: int) -> None:
    """Print seconds, calls, what comes on top of the network, and memory of the default."""
    print("| side | seconds | network calls | beyond the network | peak memory, GiB |")
    print("|---|---|---|---|---|")
    for n in sides:
        x, hole = load(image, n), draw("pixels50", n, n, 0)
        seconds, beyond, calls = [], [], 0
        for _ in range(repeats):
            start = time.perf_counter()
            report = diffprior.inpaint(x, hole, prior=prior).report
            seconds.append(time.perf_counter() - start)
            beyond.append(seconds[-1] / report["network_seconds"] - 1)
            calls = report["network_calls"]
        row = f"| {n} | {median(seconds):.1f} | {calls} | {100 * median(beyond):.1f}% "
        print(f"{row}| {peak():.2f} |", flush=True)


def invariance(prior: Prior, image: Path, batch: int) -> float:
    """Return the largest difference between a batch and its images alone, in [0, 1] units."""
    x = load(image, 256)
    xs = torch.stack([x.roll(17 * k, -1) for k in range(batch)])
    holes = torch.stack([draw("pixels50", 256, 256, k) for k in range(batch)])
    together = diffprior.inpaint(xs, holes, prior=prior).image
    alone = [diffprior.inpaint(xs[k], holes[k], prior=prior).image for k in range(batch)]
    return (together - torch.stack(alone)).abs().max().item()


def main(
    image: Annotated[Path, typer.Argument(help="An image.")],
    call: Annotated[list[int], typer.Option(help="Sides for one call.")] = [256, 512, 1024],  # noqa: B006
    side: Annotated[list[int], typer.Option(help="Sides for a filling.")] = [256, 512],  # noqa: B006
    repeats: Annotated[int, typer.Option(help="Runs of which the median counts.")] = 3,
    batch: Annotated[int, typer.Option(help="Images of the invariance check; 0: none.")] = 8,
) -> None:
    """Print the tables of one call and of a filling, and how far a batch is from its images."""
    prior = diffprior.load_prior(device=device_of(None))
    one_call(prior, image, call, repeats)
    print()
    fillings(prior, image, side, repeats)
    if batch:
        worst = invariance(prior, image, batch)
        print(f"\nbatch of {batch} at 256: the largest difference to a run alone is {worst:.1e}")


if __name__ == "__main__":
    typer.run(main)
