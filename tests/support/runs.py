"""Small files of images and short runs of training."""

from pathlib import Path

import numpy as np
import torch
import typer
from torch import Tensor
from typer.testing import CliRunner, Result

from diffprior.networks.unet import UNet
from diffprior.training.commands import train
from diffprior.training.labelled import ClassedImages
from diffprior.training.runs import Run
from diffprior.training.stages import new_unet
from diffprior.training.trainer import Trainer, TrainingConfig


def call(*words: object) -> Result:
    """Run ``diffprior train WORDS`` in this process, on a wide terminal."""
    app = typer.Typer()
    app.command()(train)
    return CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "400"})


def refused(result: Result, message: str) -> None:
    """Check that a command ended as one that was called wrongly, with these words."""
    assert result.exit_code == 2 and message in result.output, result.output


def steps(run: Trainer | Run, number: int) -> None:
    """Take so many steps, from the first to the last of a run."""
    for i in range(number):
        run.train_step(i / number)


def dark_and_bright(folder: Path) -> Path:
    """Write 64 images of 8x8 pixels in two classes, dark and bright."""
    rng = np.random.default_rng(0)
    y = np.arange(64) % 2
    x = (60 + 120 * y[:, None, None] + rng.integers(-20, 21, (64, 8, 8))).astype(np.uint8)
    np.savez(path := folder / "two.npz", x_train=x, y_train=y, x_test=x)
    return path


def squares(folder: Path, sides: tuple[int, int], grays: tuple[int, int], places: int = 1) -> Path:
    """Write 192 images of 8x8 pixels, and 64 that are held out, each with a square somewhere.

    Arguments:
        sides, grays: Side and gray of the square of each of two classes.
        places: Distance between the places where a square may begin.
    """
    rng = np.random.default_rng(0)
    x = np.full((256, 8, 8), 40, np.uint8)
    y = rng.integers(2, size=256)
    for image, kind in zip(x, y, strict=True):
        side = sides[kind]
        i, j = places * rng.integers(0, (8 - side) // places + 1, 2)
        image[i : i + side, j : j + side] = grays[kind]
    np.savez(path := folder / "squares.npz", x_train=x[:192], y_train=y[:192], x_test=x[192:])
    return path


def held_out(images: ClassedImages, most: int | None = None) -> Tensor:
    """Return images that are held out, in [-1, 1], of shape ``(N, C, H, W)``."""
    return torch.from_numpy(np.stack(images.validation[:most])).movedim(-1, 1) / 127.5 - 1


def seeing(images: ClassedImages, objective: str) -> tuple[UNet, TrainingConfig]:
    """Return a network that sees an image of one channel beside the state, and its settings."""
    torch.manual_seed(0)
    side = images.pixels.shape[-1]
    network = new_unet("unet(channels=[16])", objective, images, side, seen=2)
    config = TrainingConfig(
        batch=16,
        patch=side,
        late_patch=side,
        objective=objective,
        adam_rate=3e-3,
        warmup=2,
        ema=0.2,
    )
    return network, config
