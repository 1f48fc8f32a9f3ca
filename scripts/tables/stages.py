"""Latents, cascades, texts and image conditions on Fashion-MNIST, each beside its ablation.

    python scripts/tables/stages.py fashion_mnist.npz --out runs/stages

Each prior trains for the same time of one core, in all of its parts. The classifier of the
repository judges samples of all classes: the Frechet distance of its features to those of test
images, and the share of samples that it tells as their class. Runs and rows that are there are not
made again.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from experiment_ablation import Judge
from fashion_classifier import NAMES, load, states
from torch import Tensor

from diffprior.catalog import build
from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables
from diffprior.io.ledger import Ledger
from diffprior.metrics import psnr
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior
from diffprior.priors.cascade import CascadePrior
from diffprior.priors.conditioned import ConditionedPrior
from diffprior.priors.network import NetworkPrior
from diffprior.priors.text import text_prior
from diffprior.random import Noise
from diffprior.training.captioned import CaptionedImages
from diffprior.training.labelled import ClassedImages
from diffprior.training.stages import (
    OBJECTIVE,
    Course,
    LatentWish,
    new_unet,
    train_cascade,
    train_conditioned,
    train_latent,
    train_text,
)
from diffprior.training.trainer import Trainer, TrainingConfig

ROOT = Path(__file__).parents[2]
FIELDS = ("name", "distance", "told", "dB")
SAMPLER = "dpm(steps={}, grid='karras')"
LAW = "edm(p_mean=-0.6, p_std=1.4)"
OPERATOR = "average(factor=4)"
CAPTION = "a photo of a {}"
BASE = Path("base")  # of a cascade, in the folder of a run
RUNS = ("pixels", "latent", "joint", "cascade", "plain", "text", "condition")
Network = Callable[[Tensor, Tensor], Tensor]  # of states and times


class Together(Prior):
    """A prior that is asked for all rows at once, each under a condition of its own.

    Priors ask row by row, so that a result does not depend on its batch. It takes longer.

    Arguments:
        like: A prior of the same states and parameterization.
        network: Its network under the conditions.
        free: The same without them, for guidance.
        scale: The guidance scale.
    """

    def __init__(
        self, like: Any, network: Network, free: Network | None = None, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.shape, self.diffusion = like.shape, like.diffusion
        self.parameterization = like.parameterization
        self.network, self.free, self.scale = network, free, scale

    @torch.no_grad()
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        x, time = self.parameterization.inputs(x_t, t)
        times = torch.full((len(x),), float(time))
        out = self.network(x, times)
        if self.free is not None:
            free = self.free(x, times)
            out = free + self.scale * (out - free)
        x_0: Tensor = self.parameterization.denoised(x_t, t, out)
        return x_0

    def draw(self, count: int, steps: int) -> Tensor:
        """Return samples, ``(count, *shape)``."""
        noise = Noise(0, [f"image {i}" for i in range(count)])
        x_T = self.diffusion.terminal((count, *self.shape)).sample(noise)
        x: Tensor = build(SAMPLER.format(steps), ("samplers",))(self, x_T, noise)
        return x


def labelled(prior: NetworkPrior, labels: Tensor, seen: Tensor | None = None) -> Together:
    """Return a prior under the class of each row, its network shown an image."""
    network: Any = prior.network

    def ask(x: Tensor, times: Tensor) -> Tensor:
        x = x if seen is None else torch.cat([x, seen], 1)
        out: Tensor = network(x, times, labels).sample
        return out

    return Together(prior, ask)


def worded(prior: Prior, labels: Tensor, scale: float) -> Together:
    """Return a prior under the caption of the class of each row."""
    leaf: Any = text_prior(prior)
    texts = [CAPTION.format(name.lower()) for name in NAMES]
    known = [leaf.family.encode_prompt(text) for text in [*texts, ""]]
    embedded = torch.cat([each["encoder_hidden_states"] for each in known])

    def under(rows: Tensor) -> Network:
        inputs = {"encoder_hidden_states": embedded[rows]}
        return lambda x, times: leaf.family.forward(x, times, inputs)

    free = under(torch.full_like(labels, len(texts))) if scale != 1 else None
    return Together(leaf, under(labels), free, scale)


def clock(minutes: float) -> Callable[..., None]:
    """Return what runs a training for so many minutes of this process, and saves it."""

    def go(trainer: Any, **_: Any) -> None:
        if trainer.checkpoint.exists():
            return
        start = time.process_time()
        while (done := (time.process_time() - start) / 60 / minutes) < 1:
            trainer.train_step(done)
        print(f"{trainer.folder}: {trainer.step} steps", flush=True)
        trainer.record()

    return go


def captioned(data: Path, out: Path) -> Path:
    """Return a file of the images with the captions of their classes."""
    path = out / "captioned.npz"
    if not path.exists():
        with np.load(data) as file:
            texts = np.array([CAPTION.format(name.lower()) for name in NAMES])
            y = texts[file["y_train"]]
            np.savez_compressed(path, x_train=file["x_train"], y_train=y, x_test=file["x_test"])
    return path


def make(data: Path, out: Path, name: str, minutes: float) -> Path:
    """Return the folder of the weights of a run, which is made if it is not there."""
    folder = out / name
    if (folder / "weights").exists():
        return folder / "weights"
    images = ClassedImages(data) if name != "text" else CaptionedImages([captioned(data, out)])
    side = images.pixels.shape[-1]
    config = TrainingConfig(patch=side, late_patch=side, objective=LAW)
    torch.manual_seed(0)
    parts = 2 if name in ("latent", "joint", "cascade", "plain") else 1
    go = clock(minutes / parts)
    course = Course(out=folder, device="cpu", run=go)
    if name == "pixels":
        network = new_unet("unet", LAW, images, side)
        go(Trainer(network, images, config, folder))
    elif name in ("latent", "joint"):
        wish = LatentWish(joint=name == "joint")
        if name == "joint":  # it begins with the same autoencoder
            make(data, out, "latent", minutes)
            shutil.copytree(out / "latent" / "autoencoder", folder / "autoencoder")
        train_latent(images, config, wish, course)
    elif name in ("cascade", "plain"):
        if name == "plain":
            make(data, out, "cascade", minutes)
            shutil.copytree(out / "cascade" / BASE, folder / BASE)
        augment = 0.6 if name == "cascade" else 0.0
        train_cascade(images, config, None, course, augment)
    elif name == "text":
        assert isinstance(images, CaptionedImages)
        law = replace(config, objective=OBJECTIVE)
        train_text(images, law, None, course)
    else:
        train_conditioned(images, config, OPERATOR, None, course)
    return folder / "weights"


class Table:
    """The rows of the table; those that are in the ledger are not measured again.

    Arguments:
        data: The file of the images.
        out: Folder of the runs.
        folder: That of the classifier.
        count: Samples of each class.
        steps: Steps of the sampler.
        minutes: Length of each run.
    """

    def __init__(  # noqa: PLR0913 - the options of the script
        self, data: Path, out: Path, folder: Path, count: int, steps: int, minutes: float
    ) -> None:
        self.data, self.out = data, out
        self.steps, self.minutes = steps, minutes
        self.ledger = Ledger(out / "rows.csv", FIELDS, 1)
        self.classifier = load(folder)
        with np.load(data) as file:
            self.test = states(file["x_test"])
        self.judge = Judge(folder, self.test)
        self.labels = torch.arange(10).repeat_interleave(count)

    def prior(self, name: str, **settings: Any) -> Any:
        """Return the prior of a run."""
        return load_prior(make(self.data, self.out, name, self.minutes), **settings)

    def add(self, name: str, x: Callable[[], Tensor], near: Tensor | None = None) -> None:
        """Add the row of images ``(N, 1, 28, 28)`` of all classes, or of restored ones.

        Arguments:
            x: Makes them.
            near: What they should be, if that is known.
        """
        if (name,) in self.ledger:
            return
        drawn = x().clamp(-1, 1)
        told, level = "", ""
        if near is None:
            guess = torch.cat([self.classifier(part).argmax(1) for part in torch.split(drawn, 500)])
            told = f"{float((guess == self.labels).double().mean()):.3f}"
        else:
            level = f"{float(psnr(drawn, near).mean()):.2f}"
        row = {"name": name, "distance": f"{self.judge(drawn):.3f}", "told": told, "dB": level}
        self.ledger.add(row)
        print(row, flush=True)

    def run(self, name: str) -> None:
        """Add the rows of a run."""
        count, labels = len(self.labels), self.labels
        if name in ("pixels", "latent", "joint"):
            prior = self.prior(name)
            inner = prior.inner if prior.latent else prior
            draw = labelled(inner, labels).draw
            with torch.no_grad():
                self.add(name, lambda: prior.decode(draw(count, self.steps)).mean(1, True))
        elif name in ("cascade", "plain"):
            self.cascade(name)
        elif name == "text":
            for scale in (1.0, 3.0):
                told = worded(self.prior("text"), labels, scale)
                self.add(f"text, guidance {scale:g}", lambda p=told: p.draw(count, self.steps))  # type: ignore[misc]
        else:
            self.condition(self.prior(name))

    def cascade(self, name: str) -> None:
        """Add the rows of a cascade, and of its small images enlarged."""
        prior: CascadePrior = self.prior(name, level=0.2 if name == "cascade" else 0.0)
        base: Any = prior.base
        small = labelled(base, self.labels).draw(len(self.labels), self.steps).clamp(-1, 1)
        if name == "cascade":
            size = prior.shape[1:]
            self.add("base, bicubic", lambda: F.interpolate(small, size, mode="bicubic"))
        noise = torch.randn(len(small), *prior.shape, generator=torch.Generator().manual_seed(1))
        shown: Any = prior._show(small=small, noise=noise)
        large = labelled(prior, self.labels, shown.seen)
        self.add(name, lambda: large.draw(len(small), self.steps))

    def condition(self, prior: ConditionedPrior) -> None:
        """Add the rows of images under their small ones: shown to the network, and not."""
        count = len(self.labels)
        x = self.test[torch.randperm(len(self.test), generator=torch.Generator().manual_seed(0))]
        x = x[:count]
        y = prior.operator(x)
        labels = torch.full((len(x),), prior.classes - 1)  # the class of no class
        blank = torch.zeros(len(x), 2, *prior.shape[1:])
        blank[:, 1] = 1
        for name, seen in (("shown", prior.given(y).seen), ("not shown", blank)):
            draw = labelled(prior, labels, seen).draw
            self.add(f"condition, {name}", lambda d=draw: d(len(x), self.steps), x)  # type: ignore[misc]
        size = prior.shape[1:]
        self.add("y, bicubic", lambda: F.interpolate(y, size, mode="bicubic"), x)


def main(
    data: Annotated[Path, typer.Argument(help="NPZ file of Fashion-MNIST: x_train, y_train ...")],
    out: Annotated[Path, typer.Option(help="Folder of the runs, the rows and the table.")],
    classifier: Annotated[Path, typer.Option(help="Its folder.")] = ROOT / "data/fashion",
    count: Annotated[int, typer.Option(help="Samples of each class.")] = 40,
    steps: Annotated[int, typer.Option(help="Steps of the sampler.")] = 20,
    minutes: Annotated[float, typer.Option(help="Minutes of one core of each run.")] = 4,
    only: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(RUNS)}; can be repeated.")
    ] = None,
) -> None:
    """Train what is not there, measure, and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    table = Table(data, out, classifier, count, steps, minutes)
    for name in chosen("--only", only, RUNS):
        table.run(name)
    lines = [[row[k] for k in FIELDS] for row in table.ledger.rows]
    text = tables.markdown(["", "Frechet", "told as their class", "dB"], lines)
    print(text)
    (out / "table.md").write_text(text + "\n")


if __name__ == "__main__":
    run(main)
