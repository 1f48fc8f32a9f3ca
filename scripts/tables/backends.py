"""Compare the default fill computed by OpenVINO with that by torch, in turn.

    taskset -c 0,1 python scripts/tables/backends.py data/samples

One call of the network and one fill are done both ways, one directly after the other, and which
one is first changes. So what else the machine does slows both. Ratios are those of pairs.
"""

import os
import time
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Annotated

import torch
import typer
from speedup import HOLES, fill, in_turn, line, timed
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.cli.scripts import run
from diffprior.evaluation import tables
from diffprior.evaluation.datasets import load
from diffprior.io import files
from diffprior.operators.generators.masks import draw
from diffprior.priors.base import Prior
from diffprior.runtime.placement import prepare_prior

HEAD = ["measure", "torch", "OpenVINO", "median of OpenVINO / torch", "pairs"]


@torch.no_grad()
def call(prior: Prior, x: Tensor) -> Tensor:
    """Return what one call makes of images, at a middle noise level."""
    return prior(x, torch.tensor(0.2, dtype=torch.float64))


def calls(priors: list[Prior], sides: list[int], rounds: int) -> None:
    """Print the seconds of one call both ways, those of the cores."""
    lines = []
    for n in sides:
        x = torch.randn(1, 3, n, n) * 0.7
        ways = [partial(call, prepare_prior(prior, x.shape[1:]), x) for prior in priors]
        for way in ways:  # what is done once for a size
            once = timed(way)
        print(f"the first call of {n} x {n} by OpenVINO: {once.cores:.1f} s of cores", flush=True)
        pairs = [in_turn(ways[0], ways[1], k) for k in range(rounds)]
        lines += [line(f"a call of {n} x {n}, seconds of cores", pairs, "cores")]
        lines += [line(f"a call of {n} x {n}, seconds", pairs, "wall")]
    print(f"\n{tables.markdown(HEAD, lines)}\n", flush=True)


def fills(priors: list[Prior], paths: list[Path], side: int) -> None:
    """Print the seconds of the default fill both ways, and what it gives."""
    pairs, gains = [], []
    for number, (path, kind) in enumerate(zip(paths, cycle(HOLES), strict=False)):
        truth = load(path, side)[..., :side, :side].contiguous()
        hole = draw(kind, side, side, number)[None]
        plain, fast = (partial(fill, truth, hole, prior) for prior in priors)
        pair = in_turn(plain, fast, number)
        was, now = (metrics.psnr(2 * p.image - 1, 2 * truth - 1, hole).item() for p in pair)
        pairs.append(pair)
        gains.append(now - was)
        print(f"{path.name} {kind}: {was:.2f} dB, OpenVINO {gains[-1]:+.3f} dB", flush=True)
    lines = [line(f"a fill of {side} x {side}, seconds", pairs, "wall")]
    lines += [line(f"a fill of {side} x {side}, seconds of cores", pairs, "cores")]
    print(f"\n{tables.markdown(HEAD, lines)}\n")
    print(f"PSNR over the hole: {fmean(gains):+.3f} dB in the mean of {len(gains)} fills, ", end="")
    print(f"{min(gains):+.3f} dB in the worst, {max(gains):+.3f} dB in the best", flush=True)


def main(
    images: Annotated[list[str], typer.Argument(help="Images, or folders of images.")],
    call: Annotated[list[int], typer.Option(help="Side of a call, pixels.")] = [256, 512],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="Pairs of calls.")] = 11,
    side: Annotated[int, typer.Option(help="Side of a fill, pixels.")] = 512,
    limit: Annotated[int, typer.Option(help="Number of fills; 0 for none.")] = 12,
) -> None:
    """Print the tables."""
    plain = diffprior.load_prior()
    priors = [plain, plain.with_backend("openvino")]
    print(f"{torch.get_num_threads()} threads; load of the machine {os.getloadavg()[0]:.1f}")
    start = time.process_time(), time.perf_counter()
    image = torch.full((1, 3, 64, 64), 0.5)
    fill(image, draw("text", 64, 64, 0)[None], priors[1])
    cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
    print(f"the first fill by OpenVINO, 64 x 64: {cpu:.1f} s of cores, {wall:.1f} s", flush=True)
    calls(priors, call, rounds)
    if limit:
        fills(priors, [p for name in images for p in files.find([name])][:limit], side)
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    run(main)
