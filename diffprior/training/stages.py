"""Priors of more than one part: in latents, in a cascade of sizes, and under texts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from ..architectures.base import Demand
from ..architectures.unet import UNet as UNetSettings
from ..catalog import build
from ..errors import UnsuitedError
from ..networks.unet import UNet
from ..objectives.base import Objective
from ..validation import Checked, Within
from .autoencoder import AutoencoderConfig, AutoencoderRun
from .captioned import CaptionedImages
from .cascades import UpsamplerTrainer, shrunk
from .conditions import ConditionTrainer
from .labelled import ClassedImages
from .latents import JointRun, Latents, LatentTrainer
from .photographs import Photographs
from .runs import RunConfig
from .texts import TextTrainer
from .trainer import Trainer, TrainingConfig

__all__ = [
    "OBJECTIVE",
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
Go = Callable[..., None]  # runs a stage, with a progress bar


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


def new_unet(
    text: str,
    shape: tuple[int, int, int],
    objective: Objective,
    classes: int,
    sigma_data: float = 1.0,
) -> UNet:
    """Return a new U-Net, by the text of its architecture.

    Arguments:
        text: The text.
        shape: Shape of a state.
        objective: What it is trained by.
        classes: Number of classes.
        sigma_data: Deviation of the states.

    Raises:
        UnsuitedError: If it is another architecture, or does not fit the states.
    """
    kind = build(text, ("architectures",))
    if not isinstance(kind, UNetSettings):
        raise UnsuitedError("a prior of latents, and a cascade, has a unet for its network")
    scores = kind.time == "fourier"
    return kind.build(
        Demand(
            shape=shape,
            sigma_data=sigma_data,
            classes=classes,
            numbers=objective.numbers,
            parameterization=(
                objective.score_parameterization()
                if scores
                else objective.parameterization(sigma_data)
            ),
        )
    )


def seeing(plain: UNet, channels: int) -> UNet:
    """Return a new network like this one, which takes so many more channels, of what it sees."""
    return UNet(**plain.settings | {"seen": channels})


def train_latent(  # noqa: PLR0913 - the data, the wish, and where and how long
    images: Photographs | ClassedImages,
    config: TrainingConfig,
    wish: LatentWish,
    out: Path,
    place: str,
    go: Go,
    length: Mapping[str, Any],
) -> None:
    """Train an autoencoder for half of the run, and a prior of its latents for the rest.

    Arguments:
        images: The images.
        config: Batch, seed and side of the crops.
        wish: What is asked for.
        out: Folder of the run; that of the autoencoder is inside.
        place: Device.
        go: Runs a stage.
        length: ``minutes`` or ``steps`` of the whole.
    """
    part = halved(length)
    side = config.patch
    coder = AutoencoderConfig(
        batch=config.batch,
        seed=config.seed,
        channels=wish.channels,
        adversarial=wish.adversarial,
    )
    images.check_room(side)
    first = AutoencoderRun(images, side, coder, out / "autoencoder", place)
    first.resume()
    go(first, **part)
    latents = Latents(images, first.settle(), side)
    objective = wish.objective or OBJECTIVE
    settings = replace(config, late_patch=side, objective=objective, adam_rate=1e-3)
    if isinstance(images, CaptionedImages):
        words = TextTrainer.of(images, latents, settings, wish.network or NETWORK, out, place)
        words.resume()
        go(words, measure=words.measure, **part)
        return
    task: Objective = build(objective, ("objectives",))
    network = new_unet(wish.network or NETWORK, latents.shape, task, latents.classes)
    if wish.joint:
        both = RunConfig(batch=config.batch, seed=config.seed, rate=1e-3)
        run = JointRun(latents, network, objective, both, out, coder.spread)
        run.resume()
        go(run, **part)
        return
    trainer = LatentTrainer(network, latents, settings, out, place)
    trainer.resume()
    go(trainer, measure=trainer.measure, **part)


def train_text(
    images: CaptionedImages,
    config: TrainingConfig,
    network: str | None,
    out: Path,
    place: str,
    go: Go,
    length: Mapping[str, Any],
) -> None:
    """Train a prior of pixels under texts.

    Arguments:
        images: The images with their texts.
        config: Settings of the training.
        network: Text of the architecture.
        out: Folder of the run.
        place: Device.
        go: Runs it.
        length: ``minutes`` or ``steps``.
    """
    trainer = TextTrainer.of(images, None, replace(config, adam_rate=1e-3), network, out, place)
    trainer.resume()
    go(trainer, **length)


def train_conditioned(
    images: Photographs | ClassedImages,
    config: TrainingConfig,
    texts: tuple[str, str | None],
    out: Path,
    place: str,
    go: Go,
    length: Mapping[str, Any],
) -> None:
    """Train a prior that sees what an operator leaves of an image.

    Arguments:
        images: The images.
        config: Settings of the training.
        texts: The operator, and the architecture of the network.
        out: Folder of the run.
        place: Device.
        go: Runs it.
        length: ``minutes`` or ``steps``.
    """
    operator, network = texts
    side = config.patch
    images.check_room(side)
    channels, deviation, classes = 3, 0.5, 0
    if isinstance(images, ClassedImages):
        channels = images.pixels.shape[1]
        deviation, classes = images.deviation, images.classes
    shape = channels, side, side
    task: Objective = build(config.objective, ("objectives",))
    plain = new_unet(network or UPSAMPLER, shape, task, classes, deviation)
    made = seeing(plain, channels + 1)
    settings = replace(config, late_patch=side, adam_rate=1e-3)
    trainer = ConditionTrainer(operator, made, images, settings, out, place)
    trainer.resume()
    go(trainer, **length)


def train_cascade(  # noqa: PLR0913 - the data, the networks, and where and how long
    images: ClassedImages,
    config: TrainingConfig,
    network: str | None,
    out: Path,
    place: str,
    go: Go,
    length: Mapping[str, Any],
    augment: float = 0.6,
) -> None:
    """Train a prior of small images for half of the run, and one of large ones under them.

    Arguments:
        images: The images.
        config: Settings of both trainings.
        network: Text of the architecture of both.
        out: Folder of the run; that of the small images is inside.
        place: Device.
        go: Runs a stage.
        length: ``minutes`` or ``steps`` of the whole.
        augment: The largest share of noise in the small images that the network of large ones sees.
    """
    part = halved(length)
    small = shrunk(images)
    task: Objective = build(config.objective, ("objectives",))
    made = []
    for data, usual, seen in ((small, BASE, 0), (images, UPSAMPLER, images.pixels.shape[1] + 1)):
        channels, height, width = data.pixels.shape[1:]
        shape = channels, height, width
        plain = new_unet(network or usual, shape, task, data.classes, data.deviation)
        made.append(seeing(plain, seen))
    side = small.pixels.shape[-1]
    settings = replace(config, patch=side, late_patch=side, adam_rate=1e-3)
    base = Trainer(made[0], small, settings, out / "base", place)
    base.resume()
    go(base, **part)
    settings = replace(config, adam_rate=1e-3)
    upsampler = UpsamplerTrainer(made[1], images, settings, out, place, augment)
    upsampler.base = base._packed()
    upsampler.resume()
    go(upsampler, **part)


def halved(length: Mapping[str, Any]) -> dict[str, Any]:
    """Return the length of one of two stages; of a run of one step each has one."""
    minutes, steps = length["minutes"], length["steps"]
    return {
        "minutes": None if minutes is None else minutes / 2,
        "steps": None if steps is None else max(1, steps // 2),
    }
