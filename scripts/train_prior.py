"""Train a prior on photographs, or on small images with classes: resumable, on a CPU or a GPU.

python scripts/train_prior.py photos-1.zip photos-2.zip --out runs/photo --minutes 360
python scripts/train_prior.py fashion_mnist.npz --out runs/fashion --batch 128 --minutes 60
"""

import csv
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import diffprior
from diffprior import metrics
from diffprior.evaluation import figures
from diffprior.networks.nafunet import NAFUNet, load_network
from diffprior.operators.generators.masks import draw
from diffprior.priors.network import NetworkPrior
from diffprior.training.labelled import ClassedImages
from diffprior.training.photographs import Image, Photographs
from diffprior.training.trainer import SIGMAS, Recipe, Trainer


def begin(
    paths: list[Path], weights: dict[str, float], batch: int, seed: int
) -> tuple[Photographs | ClassedImages, NAFUNet, Recipe]:
    """Return the images, and a fresh network and a recipe for their kind."""
    if paths[0].suffix != ".npz":
        return Photographs(paths, weights=weights), NAFUNet(), Recipe(batch=batch, seed=seed)
    images = ClassedImages(paths[0])
    _, channels, side, _ = images.pixels.shape
    std = float((images.pixels[::50].float() / 127.5 - 1).std())
    network = NAFUNet(
        (96, 160),
        (3, 4),
        image_channels=channels,
        sigma_data=round(std, 2),
        classes=images.classes,
        size=side,
    )
    recipe = Recipe(batch=batch, patch=side, late_patch=side, p_mean=-0.6, p_std=1.4, seed=seed)
    return images, network, recipe


class Holes:
    """The hole PSNR of the default inpainting on some held-out images, half their pixels lost."""

    def __init__(self, validation: list[Image], count: int, device: str, side: int = 256) -> None:
        self.device = device
        large = [x for x in validation if min(x.shape[:2]) >= side]
        some = [torch.from_numpy(x[:side, :side].copy()) for x in large[:count]]
        self.truth = torch.stack(some).movedim(-1, 1) / 255 if some else None
        self.hole = torch.stack([draw("pixels50", side, side, i) for i in range(count)])
        self.hole = self.hole[: len(some)]

    def __call__(self, network: NAFUNet) -> dict[str, float]:
        if self.truth is None:  # no image was held out, or none is large enough
            return {}
        prior = NetworkPrior.of(network).to(self.device)
        filled = diffprior.inpaint(self.truth * ~self.hole, self.hole, prior=prior).image
        psnr = metrics.psnr(2 * filled - 1, 2 * self.truth - 1, self.hole)
        return {"hole": psnr.mean().item()}


def curve(out: Path) -> None:
    """Draw the validation table of a run."""
    rows = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    columns = [c for c in (*SIGMAS, "hole") if all(r.get(c) for r in rows)]
    x = [float(r["minutes"]) for r in rows]
    series = {c: [float(r[c]) for r in rows] for c in columns}
    try:
        figures.lines(out / "curve.png", x, series, across="minutes", up="PSNR, dB")
    except figures.FigureError as error:
        print(f"no learning curve was drawn: {error}")


def main(
    photographs: Annotated[
        list[Path], typer.Argument(help="Zips or folders of images, or an .npz.")
    ],
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
    batch: Annotated[int, typer.Option(help="Images a step.")] = Recipe.batch,
    holes: Annotated[int, typer.Option(help="Held-out images that are also inpainted.")] = 4,
    device: Annotated[str, typer.Option()] = "cuda" if torch.cuda.is_available() else "cpu",
    compile: Annotated[bool, typer.Option(help="Compile the network.")] = False,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train a prior on PHOTOGRAPHS."""
    torch.manual_seed(seed)
    weights = {k: float(v) for k, v in (s.split("=") for s in source or [])}
    images, network, recipe = begin(photographs, weights, batch, seed)
    network = load_network(init) if init else network
    trainer = Trainer(network, images, recipe, out, device)
    going_on = trainer.resume()
    if compile:
        network.compile()
    counts = {k: len(v) for k, v in images.sources.items()}
    print(f"{counts}, {len(images.validation)} held out; {'resumed' if going_on else 'begun'}")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=1.0)

        def callback(trainer: Trainer, share: float) -> None:
            text = f"step {trainer.step}, loss {trainer.loss:.4f}"
            progress.update(bar, completed=share, description=text)

        trainer.run(minutes, every, callback, Holes(images.validation, holes, device))
    curve(out)
    print((out / "curve.csv").read_text())


if __name__ == "__main__":
    typer.run(main)
