"""The command of training: train.

The module imports nothing heavy, so that the command line can read the options of its function.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..networks.nafunet import NAFUNet
    from .labelled import ClassedImages
    from .photographs import Photographs
    from .trainer import Trainer, TrainingConfig

__all__ = ["train"]


def train(  # noqa: PLR0913 (the options of the command)
    photographs: Annotated[
        list[Path],
        typer.Argument(help="ZIP files or folders of images, or an .npz file of classes."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run in it goes on.")],
    minutes: Annotated[float, typer.Option(help="Length of the whole run, over all parts.")] = 60,
    every: Annotated[float, typer.Option(help="Minutes between validations.")] = 5,
    init: Annotated[
        Path | None, typer.Option(help="Model folder with the weights to start from.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=WEIGHT", help="How often a source of images is drawn; can be repeated."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Images of each step.")] = 32,
    holes: Annotated[int, typer.Option(help="Held-out images that are also inpainted.")] = 4,
    device: Annotated[
        str | None, typer.Option(help="Device; default: cuda if there is one, else cpu.")
    ] = None,
    compile: Annotated[bool, typer.Option(help="Compile the network.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights, crops and noise.")] = 0,
) -> None:
    """Train a prior on photographs, or on small images with classes.

    A run that was stopped goes on with the same command. OUT/weights is a model folder for --prior,
    OUT/curve.csv the validation table.
    """
    import torch
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..networks.nafunet import load_network
    from .hole_validation import HoleValidation
    from .trainer import Trainer

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    try:
        images, network, config = _prepare(photographs, _weights(source or ()), batch, seed)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    network = load_network(init) if init else network
    trainer = Trainer(network, images, config, out, device)
    resumed = trainer.resume()
    if compile:
        network.compile()
    counts = {name: len(levels) for name, levels in images.sources.items()}
    print(f"{counts}, {len(images.validation)} held out; {'resumed' if resumed else 'new run'}")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=1.0)

        def callback(trainer: "Trainer", share: float) -> None:
            text = f"step {trainer.step}, loss {trainer.loss:.4f}"
            progress.update(bar, completed=share, description=text)

        trainer.run(minutes, every, callback, HoleValidation(images.validation, holes, device))
    _draw_curve(out)
    print((out / "curve.csv").read_text())


def _weights(sources: Sequence[str]) -> dict[str, float]:
    """Return the weights of NAME=WEIGHT texts."""
    weights = {}
    for text in sources:
        name, _, value = text.partition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            raise ValueError(f"--source is NAME=WEIGHT, as in cities=2, got {text!r}") from None
    return weights


def _prepare(
    paths: Sequence[Path], weights: dict[str, float], batch: int, seed: int
) -> "tuple[Photographs | ClassedImages, NAFUNet, TrainingConfig]":
    """Return the images, and a new network and a configuration for their kind."""
    from ..networks.nafunet import NAFUNet
    from .labelled import ClassedImages
    from .photographs import Photographs
    from .trainer import TrainingConfig

    if paths[0].suffix != ".npz":
        config = TrainingConfig(batch=batch, seed=seed)
        return Photographs(paths, weights=weights), NAFUNet(), config
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
    config = TrainingConfig(
        batch=batch, patch=side, late_patch=side, p_mean=-0.6, p_std=1.4, seed=seed
    )
    return images, network, config


def _draw_curve(out: Path) -> None:
    """Draw the validation table of a run, if matplotlib is installed."""
    from ..errors import FigureError
    from ..io import figures
    from ..io.ledger import read_rows
    from .trainer import SIGMAS

    rows = read_rows(out / "curve.csv")
    columns = [name for name in (*SIGMAS, "hole") if all(row.get(name) for row in rows)]
    minutes = [float(row["minutes"]) for row in rows]
    series = {name: [float(row[name]) for row in rows] for name in columns}
    try:
        figures.lines(out / "curve.png", minutes, series, axes=("minutes", "PSNR, dB"))
    except FigureError as error:
        print(f"no learning curve was drawn: {error}")
