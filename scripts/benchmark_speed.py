"""Measure time, memory and batch invariance of the default inpainting.

python scripts/benchmark_speed.py data/samples/dog.png
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
from diffprior import files
from diffprior.masks import draw


def load(path: Path, side: int) -> Tensor:
    """Return the picture, mirrored to be large enough, cut to a square of this side."""
    x = (files.read(path).pictures.tensor() + 1) / 2
    while min(x.shape[-2:]) < side:
        x = torch.cat([x, x.flip(-1)], -1)
        x = torch.cat([x, x.flip(-2)], -2)
    return x[0, :, :side, :side].contiguous()


def peak() -> float:
    """Return the most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(
    picture: Annotated[Path, typer.Argument(help="A picture.")],
    side: Annotated[list[int], typer.Option(help="Sides to time.")] = [256, 512],  # noqa: B006
    repeats: Annotated[int, typer.Option(help="Runs of which the median counts.")] = 3,
    batch: Annotated[int, typer.Option(help="Pictures of the invariance check; 0: none.")] = 8,
) -> None:
    """Print a table of seconds, of the network's share of them and of memory."""
    prior = diffprior.load_prior()
    print("| side | seconds | network calls | beyond the network | peak memory, GiB |")
    print("|---|---|---|---|---|")
    for n in side:
        x, hole = load(picture, n), draw("pixels50", n, n, 0)
        seconds, beyond, calls = [], [], 0
        for _ in range(repeats):
            start = time.perf_counter()
            report = diffprior.inpaint(x, hole, prior=prior).report
            seconds.append(time.perf_counter() - start)
            beyond.append(seconds[-1] / report["network_seconds"] - 1)
            calls = report["network_calls"]
        row = f"| {n} | {median(seconds):.1f} | {calls} | {100 * median(beyond):.1f}% "
        print(f"{row}| {peak():.2f} |", flush=True)
    if batch:
        x = load(picture, 256)
        xs = torch.stack([x.roll(17 * k, -1) for k in range(batch)])
        holes = torch.stack([draw("pixels50", 256, 256, k) for k in range(batch)])
        together = diffprior.inpaint(xs, holes, prior=prior).image
        worst = 0.0
        for k in range(batch):
            alone = diffprior.inpaint(xs[k], holes[k], prior=prior).image
            worst = max(worst, (together[k] - alone).abs().max().item())
        print(f"\nbatch of {batch} at 256: the largest difference to a run alone is {worst:.1e}")


if __name__ == "__main__":
    typer.run(main)
