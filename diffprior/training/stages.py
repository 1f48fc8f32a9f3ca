"""Priors of more than one part: in latents, in a cascade of sizes, and under texts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch

from ..architectures.unet import UNet as UNetSettings
from ..catalog import build
from ..errors import UnsuitedError
from ..networks.text_unet import TextUNet
from ..networks.unet import UNet
from ..objectives.base import Objective
from ..validation import Checked, Within
from .autoencoder import AutoencoderConfig, AutoencoderRun, new_autoencoder
from .captioned import CaptionedImages
from .cascades import UpsamplerTrainer, shrunk
from .conditions import ConditionTrainer
from .data import Data
from .labelled import ClassedImages
from .latents import JointRun, Latents, LatentTrainer
from .runs import Run, RunConfig
from .texts import TextTrainer, text_architecture
from .trainer import Trainer, TrainingConfig, check_task, demand_of, network_task

__all__ = [
    "OBJECTIVE",
    "Course",
    "LatentWish",
    "new_unet",
    "train_cascade",
    "train_conditioned",
    "train_latent",
    "train_text",
]

OBJECTIVE = "v(betas='cosine')"
NETWORK = "unet(channels=[64], layers=2)"  # latents are small: all of it has attention
BASE, UPSAMPLER = "unet(channels=[32, 64])", "unet(channels=[32, 64, 64])"  # of a cascade
RATE = 1e-3  # learning rate of all of them


@dataclass(frozen=True, kw_only=True)
class Course:
    """Where the stages of a run are, and how each of them is run.

    Attributes:
        out: Folder of the run; a stage that comes first has a folder inside.
        device: Device.
        run: Runs a trainer, with arguments of ``Trainer.run``.
        minutes, steps: Length of all stages together; one of the two is None, or both where
            ``run`` has a clock of its own.
    """

    out: Path
    device: str
    run: Callable[..., None]
    minutes: float | None = None
    steps: int | None = None

    @property
    def half(self) -> "Course":
        """The same for one of two stages; of a run of one step each has one."""
        return replace(
            self,
            minutes=None if self.minutes is None else self.minutes / 2,
            steps=None if self.steps is None else max(1, self.steps // 2),
        )

    def go(self, trainer: Trainer | Run, **more: Any) -> None:
        """Run a stage, from where it was when it was stopped.

        Arguments:
            more: Further arguments of ``run``.
        """
        trainer.resume()
        self.run(trainer, minutes=self.minutes, steps=self.steps, **more)


@dataclass(frozen=True, kw_only=True)
class LatentWish(Checked):
    """What a person asks for.

    Attributes:
        channels: Numbers of a latent, each of 4 x 4 pixels.
        joint: Whether the autoencoder goes on learning, together with the prior.
        adversarial: Weight of the critic of the autoencoder.
        objective, network: As of the command.
    """

    channels: Annotated[int, Within(1, 256)] = 4
    joint: bool = False
    adversarial: float = 0.0
    objective: str | None = None
    network: str | None = None


def new_unet(text: str, objective: str, data: Data, side: int, seen: int = 0) -> UNet:
    """Return a new U-Net, by the text of its architecture.

    Arguments:
        text: The text.
        objective: Text of what it is trained by.
        data: What it is trained on.
        side: Side of crops in pixels.
        seen: Channels that it takes after those of a state, of what it sees.

    Raises:
        UnsuitedError: If it is another architecture, or does not fit the data or the objective.
    """
    kind = build(text, ("architectures",))
    if not isinstance(kind, UNetSettings):
        raise UnsuitedError("a prior of latents, and a cascade, has a unet for its network")
    task: Objective = build(objective, ("objectives",))
    made = kind.build(demand_of(kind, task, data, side))
    network_task(task, made)
    return UNet(**made.settings | {"seen": seen}) if seen else made


def train_latent(images: Data, config: TrainingConfig, wish: LatentWish, course: Course) -> None:
    """Train an autoencoder for half of the run, and a prior of its latents for the rest.

    Arguments:
        images: The images.
        config: Batch, seed and side of the crops.
        wish: What is asked for.
        course: Where the run is, and how its stages are run.
    """
    side = config.patch
    coder = AutoencoderConfig(
        batch=config.batch,
        seed=config.seed,
        channels=wish.channels,
        adversarial=wish.adversarial,
    )
    images.check_room(side)
    objective, text = wish.objective or OBJECTIVE, wish.network or NETWORK
    settings = replace(config, late_patch=side, objective=objective, adam_rate=RATE)
    _check_latent(images, coder, objective, text, side)
    half = course.half
    first = AutoencoderRun(images, side, coder, course.out / "autoencoder", course.device)
    half.go(first)
    latents = Latents(images, first.settle(), side)
    if isinstance(images, CaptionedImages):
        words = TextTrainer.of(images, latents, settings, text, course.out, course.device)
        half.go(words, measure=words.measure)
        return
    network = new_unet(text, objective, latents, side)
    if wish.joint:
        both = RunConfig(batch=config.batch, seed=config.seed, rate=RATE)
        half.go(JointRun(latents, network, objective, both, course.out, coder.spread))
        return
    trainer = LatentTrainer(network, latents, settings, course.out, course.device)
    half.go(trainer, measure=trainer.measure)


def _check_latent(
    images: Data, coder: AutoencoderConfig, objective: str, text: str, side: int
) -> None:
    """Refuse a network or an objective that does not suit latents, before any work."""
    with torch.random.fork_rng(devices=[]):
        latents = Latents(images, new_autoencoder(coder, side), side)
        if not isinstance(images, CaptionedImages):
            new_unet(text, objective, latents, side)
            return
    text_architecture(text, latents.shape[-1])
    check_task(build(objective, ("objectives",)), TextUNet.numbers)


def train_text(
    images: CaptionedImages, config: TrainingConfig, network: str | None, course: Course
) -> None:
    """Train a prior of pixels under texts.

    Arguments:
        images: The images with their texts.
        config: Settings of the training.
        network: Text of the architecture.
        course: Where the run is, and how it is run.
    """
    settings = replace(config, adam_rate=RATE)
    course.go(TextTrainer.of(images, None, settings, network, course.out, course.device))


def train_conditioned(
    images: Data, config: TrainingConfig, operator: str, network: str | None, course: Course
) -> None:
    """Train a prior that sees what an operator leaves of an image.

    Arguments:
        images: The images.
        config: Settings of the training.
        operator: Text of the operator.
        network: Text of the architecture of the network.
        course: Where the run is, and how it is run.
    """
    side = config.patch
    images.check_room(side)
    seen = images.shape_at(side)[0] + 1
    made = new_unet(network or UPSAMPLER, config.objective, images, side, seen)
    settings = replace(config, late_patch=side, adam_rate=RATE)
    course.go(ConditionTrainer(operator, made, images, settings, course.out, course.device))


def train_cascade(
    images: ClassedImages,
    config: TrainingConfig,
    network: str | None,
    course: Course,
    augment: float = 0.6,
) -> None:
    """Train a prior of small images for half of the run, and one of large ones under them.

    Arguments:
        images: The images.
        config: Settings of both trainings.
        network: Text of the architecture of both.
        course: Where the run is, and how its stages are run.
        augment: The largest share of noise in the small images that the network of large ones sees.
    """
    small = shrunk(images)
    side, large = small.pixels.shape[-1], images.pixels.shape[-1]
    law, seen = config.objective, images.pixels.shape[1] + 1
    first = new_unet(network or BASE, law, small, side)
    second = new_unet(network or UPSAMPLER, law, images, large, seen)
    half = course.half
    settings = replace(config, patch=side, late_patch=side, adam_rate=RATE)
    base = Trainer(first, small, settings, course.out / "base", course.device)
    half.go(base)
    settings = replace(config, adam_rate=RATE)
    upsampler = UpsamplerTrainer(second, images, settings, course.out, course.device, augment)
    upsampler.base = base._packed()
    half.go(upsampler)
