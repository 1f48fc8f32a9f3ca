"""Train a prior on zips or folders of photographs: resumable, on a CPU or a GPU."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from diffprior.networks import NAFUNet, load_network
from diffprior.photographs import Photographs
from diffprior.training import Recipe, Trainer


def main(
    photographs: Annotated[list[Path], typer.Argument(help="Zips or folders of pictures.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run found there goes on.")],
    minutes: Annotated[
        float, typer.Option(help="Length of the whole run, over all its parts.")
    ] = 60,
    every: Annotated[float, typer.Option(help="Minutes between validations.")] = 5,
    init: Annotated[
        Path | None, typer.Option(help="Weights to start from: a model folder.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="NAME=WEIGHT: how often a source is drawn.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Pictures a step.")] = Recipe.batch,
    device: Annotated[str, typer.Option()] = "cuda" if torch.cuda.is_available() else "cpu",
    compile: Annotated[bool, typer.Option(help="Compile the network.")] = False,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train the network of the default prior on PHOTOGRAPHS."""
    torch.manual_seed(seed)
    weights = {k: float(v) for k, v in (s.split("=") for s in source or [])}
    pictures = Photographs(photographs, weights=weights)
    network = load_network(init) if init else NAFUNet()
    recipe = Recipe(batch=batch, seed=seed)
    trainer = Trainer(network, pictures, recipe, out, device)
    going_on = trainer.resume()
    if compile:
        network.compile()
    counts = {k: len(v) for k, v in pictures.sources.items()}
    print(f"{counts}, {len(pictures.validation)} held out; {'resumed' if going_on else 'begun'}")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=1.0)

        def watch(trainer: Trainer, share: float) -> None:
            text = f"step {trainer.step}, loss {trainer.loss:.4f}"
            progress.update(bar, completed=share, description=text)

        trainer.run(minutes, every, watch)
    print((out / "curve.csv").read_text())


if __name__ == "__main__":
    typer.run(main)
