"""Compare the default fill with that of before, and a batch on all cores with one after another.

    taskset -c 0,1 python scripts/tables/speedup.py data/samples

Before, a smooth fill took 30 calls, and the blocks of the network worked on whole images. Each fill
is made both ways, one directly after the other, and which one is first changes from image to image.
So what else the machine does slows both. Ratios are those of pairs. A batch is filled as it is,
and one image after another, by the fill of now and by that of before; its results are those of now
to the bit, or the script ends.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, NamedTuple

import torch
import typer
from calls import FIRST, filled
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables
from diffprior.evaluation.datasets import load
from diffprior.io import files
from diffprior.networks import nafunet
from diffprior.operators.generators.masks import draw
from diffprior.priors.base import Prior

HOLES = ("text", "scratches", "strokes", "pixels50")
HEAD = ["measure", "before", "now", "median of now / before", "pairs"]


class Timed(NamedTuple):
    """A result in [0, 1], and the seconds that it took: of the clock, and of all cores."""

    image: Tensor
    wall: float
    cores: float


class Pair(NamedTuple):
    """The same work done in two ways."""

    before: Timed
    now: Timed


def timed(work: Callable[[], Tensor]) -> Timed:
    """Return what some work gives, and its seconds."""
    wall, cores = time.perf_counter(), time.process_time()
    image = work()
    return Timed(image, time.perf_counter() - wall, time.process_time() - cores)


def in_turn(before: Callable[[], Tensor], now: Callable[[], Tensor], number: int) -> Pair:
    """Return a pair; of pairs with an odd number ``now`` comes first."""
    if number % 2:
        last = timed(now)
        return Pair(timed(before), last)
    return Pair(timed(before), timed(now))


def fill_of_before(truth: Tensor, hole: Tensor, prior: Prior) -> Tensor:
    """Return the fill of 30 calls, by blocks that work on whole images."""
    strip = nafunet.STRIP
    nafunet.STRIP = 0
    try:
        image: Tensor = filled(truth, hole, FIRST, prior).image
        return image
    finally:
        nafunet.STRIP = strip


def fill(truth: Tensor, hole: Tensor, prior: Prior) -> Tensor:
    """Return the default smooth fill."""
    return diffprior.inpaint(truth * ~hole, hole, prior=prior, fill="smooth").image


def line(name: str, pairs: list[Pair], of: str) -> list[str]:
    """Return the line of a table: medians of seconds, and of their ratios."""
    before, now = ([getattr(timed, of) for timed in way] for way in zip(*pairs, strict=True))
    ratio = median(b / a for a, b in zip(before, now, strict=True))
    return [name, f"{median(before):.2f}", f"{median(now):.2f}", f"{ratio:.3f}", str(len(pairs))]


def fills(paths: list[Path], side: int, kinds: list[str], prior: Prior) -> None:
    """Print what the default fill costs and gives, against that of before."""
    pairs, gains = [], []
    for number, (path, kind) in enumerate(zip(paths, cycle(kinds), strict=False)):
        truth = load(path, side)[..., :side, :side].contiguous()
        hole = draw(kind, side, side, number)[None]
        before, after = (partial(way, truth, hole, prior) for way in (fill_of_before, fill))
        pair = in_turn(before, after, number)
        was, now = (metrics.psnr(2 * p.image - 1, 2 * truth - 1, hole).item() for p in pair)
        pairs.append(pair)
        gains.append(now - was)
        print(f"{path.name} {kind}: {was:.2f} dB, now {gains[-1]:+.3f} dB", flush=True)
    lines = [
        line(f"fill of {side} x {side}, seconds", pairs, "wall"),
        line(f"fill of {side} x {side}, seconds of cores", pairs, "cores"),
    ]
    print(f"\n{tables.markdown(HEAD, lines)}\n")
    print(f"PSNR over the hole: {fmean(gains):+.3f} dB in the mean of {len(gains)} fills, ", end="")
    print(f"{min(gains):+.3f} dB in the worst, {max(gains):+.3f} dB in the best\n", flush=True)


def batches(path: Path, batch: int, side: int, rounds: int, prior: Prior) -> None:
    """Print what a batch costs, against its images one after another."""
    image = load(path, side)[..., :side, :side]
    truth = torch.cat([image.roll(17 * k, -1) for k in range(batch)])
    holes = torch.stack([draw("pixels50", side, side, k) for k in range(batch)])

    def alone(way: Callable[[Tensor, Tensor, Prior], Tensor]) -> Tensor:
        return torch.cat([way(truth[k][None], holes[k][None], prior) for k in range(batch)])

    def together() -> Tensor:
        return fill(truth, holes, prior)

    for name, way in (("one after another", fill), ("before, one after another", fill_of_before)):
        pairs = [in_turn(partial(alone, way), together, k) for k in range(rounds)]
        if way is fill and not all(torch.equal(p.before.image, p.now.image) for p in pairs):
            raise SystemExit("a batch differs from its images alone")
        lines = [
            line(f"{batch} fills of {side} x {side}, seconds", pairs, "wall"),
            line(f"{batch} fills of {side} x {side}, seconds of cores", pairs, "cores"),
        ]
        head = ["measure", name, "batch", f"median of batch / {name}", "pairs"]
        print(f"{tables.markdown(head, lines)}\n", flush=True)


def main(
    images: Annotated[list[str], typer.Argument(help="Images, or folders of images.")],
    side: Annotated[int, typer.Option(help="Side of a fill, pixels.")] = 512,
    limit: Annotated[int, typer.Option(help="Number of fills; 0 for none.")] = 12,
    hole: Annotated[list[str] | None, typer.Option(help="Only this kind.")] = None,
    batch: Annotated[int, typer.Option(help="Images of the batch; 0 for none.")] = 8,
    batch_side: Annotated[int, typer.Option(help="Their side, pixels.")] = 256,
    rounds: Annotated[int, typer.Option(help="Pairs of batches.")] = 2,
) -> None:
    """Print the tables."""
    paths = [path for folder in images for path in files.find([folder])]
    prior = diffprior.load_prior()
    for way in (fill, fill_of_before):  # what is done once
        way(load(paths[0], 64)[..., :64, :64], draw("text", 64, 64, 0)[None], prior)
    print(f"{torch.get_num_threads()} threads; load of the machine {os.getloadavg()[0]:.1f}\n")
    if limit:
        fills(paths[:limit], side, chosen("--hole", hole, HOLES), prior)
    if batch:
        batches(paths[0], batch, batch_side, rounds, prior)
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    run(main)
