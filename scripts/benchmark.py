"""Measure methods on a corrupted dataset, beside classical ones and published figures.

    python scripts/corrupt.py data/samples data/recipes/deblurring.toml runs/blurred
    python scripts/benchmark.py runs/blurred runs/report --method "ddrm" --method classical:wiener

Stopped, it goes on where it was: the same line again. On several devices, or processes:
``torchrun --nproc-per-node 8 scripts/benchmark.py ...``. ``table.md``, ``table.csv`` and
``report.html`` hold the results.
"""

import os
from pathlib import Path
from typing import Annotated

import torch
import typer

from diffprior.evaluation.benchmark import benchmark


def main(
    data: Annotated[Path, typer.Argument(help="A folder that scripts/corrupt.py wrote.")],
    out: Annotated[Path, typer.Argument(help="Folder of the rows, images and reports.")],
    method: Annotated[list[str], typer.Option(help='As in "ddrm(eta=0.85)", classical:tv.')],
    prior: Annotated[str | None, typer.Option(help="As of the command line.")] = None,
    samples: Annotated[int, typer.Option(help="Of each posterior; 2 or more for coverage.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the methods.")] = 0,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:n or mps.")] = None,
    precision: Annotated[str, typer.Option(help="auto, full, bf16 or fp16.")] = "auto",
    lpips: Annotated[bool, typer.Option(help="Whether to measure LPIPS.")] = True,
    batch: Annotated[int | None, typer.Option(help="Images at a time.")] = None,
) -> None:
    """Run the benchmark; exit with 1 if there are errors among the rows."""
    rank, world, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    if device is None and world > 1 and torch.cuda.is_available():
        device = f"cuda:{local % torch.cuda.device_count()}"
    try:
        errors = benchmark(
            data,
            out,
            method,
            prior=prior,
            samples=samples,
            seed=seed,
            device=device,
            precision=precision,
            lpips=lpips,
            batch=batch,
            rank=rank,
            world=world,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    print((out / "table.md").read_text())
    raise typer.Exit(int(errors > 0))


if __name__ == "__main__":
    typer.run(main)
