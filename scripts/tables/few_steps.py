"""Few steps on Fashion-MNIST: how good are images after 1, 2, 4 and 8 calls of a network?

    python scripts/tables/few_steps.py fashion_mnist.npz --out runs/few_steps

The shipped prior ``fashion`` is the teacher. Each row is a prior that ``diffprior train`` makes of
it in a few minutes, or a sampler of the teacher. The classifier of the repository judges samples of
all classes: the Frechet distance of its features to those of test images, and the share of samples
that it tells as their class. Runs and rows that are there are not made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from experiment_ablation import Judge
from fashion_classifier import load, states
from torch import Tensor

from diffprior.catalog import build
from diffprior.cli.scripts import run
from diffprior.errors import FigureError
from diffprior.evaluation import tables
from diffprior.io import figures
from diffprior.io.ledger import Ledger, Row
from diffprior.kernels import Kernel
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior
from diffprior.priors.denoising_gan import DenoisingGANPrior
from diffprior.priors.network import NetworkPrior
from diffprior.random import Noise
from diffprior.training.commands import train
from diffprior.training.teachers import as_teacher

ROOT = Path(__file__).parents[2]
FIELDS = ("name", "steps", "calls", "distance", "told")
STEPS = (1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run.

    Attributes:
        objective: What is minimized.
        teacher: The shipped prior, or the name of another run.
        init: The shipped prior whose weights it begins with.
        minutes: Its length.
    """

    objective: str
    teacher: str | None = None
    init: str | None = None
    minutes: float = 3


RUNS = {
    "p8": Run(objective="progressive(steps=8)", teacher="fashion"),
    "p4": Run(objective="progressive(steps=4)", teacher="p8"),
    "p2": Run(objective="progressive(steps=2)", teacher="p4", minutes=4),
    "p1": Run(objective="progressive(steps=1)", teacher="p2", minutes=4),
    "cd": Run(objective="consistency_distillation", teacher="fashion", minutes=6),
    "ct": Run(objective="consistency_training", init="fashion", minutes=5),
    "gan": Run(objective="denoising_gan", minutes=7),
    "guided": Run(objective="guided(guidance_scale=3.0)", teacher="fashion", minutes=2),
}


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to draw images.

    Attributes:
        name: Its name in the table.
        prior: The shipped prior, or the name of a run; ``{}`` stands for the steps.
        sampler: The text of the sampler; ``{}`` stands for the steps.
        steps: The numbers of steps.
        scale: The guidance scale.
    """

    name: str
    prior: str
    sampler: str
    steps: tuple[int, ...] = STEPS
    scale: float = 1.0

    @property
    def calls(self) -> int:
        """Network calls of a step."""
        return 1 if self.scale == 1 else 2


WAYS = (
    Way(name="teacher, DDIM", prior="fashion", sampler="ddim(steps={})", steps=(*STEPS, 50)),
    Way(name="teacher, DPM-Solver++", prior="fashion", sampler="dpm(steps={}, grid='karras')"),
    Way(name="progressive", prior="p{}", sampler="ddim(steps={})"),
    Way(name="consistency distillation", prior="cd", sampler="ancestral(steps={})"),
    Way(name="consistency training", prior="ct", sampler="ancestral(steps={})"),
    Way(name="denoising GAN", prior="gan", sampler="ancestral(steps={})", steps=(4,)),
    Way(
        name="teacher, guidance 3",
        prior="fashion",
        sampler="ddim(steps={})",
        steps=(4, 8),
        scale=3.0,
    ),
    Way(name="guided, guidance 3", prior="guided", sampler="ddim(steps={})", steps=(4, 8)),
)


class Together(Prior):
    """A prior asked for all rows at once, each under a class of its own, in bfloat16.

    Priors ask row by row, so that a result does not depend on its batch. It takes twice as long.

    Arguments:
        inner: The prior.
        labels: The class of each row.
        scale: The guidance scale.
    """

    def __init__(self, inner: NetworkPrior, labels: Tensor, scale: float) -> None:
        super().__init__()
        self._describe_as(inner)
        self.inner, self.labels, self.scale = inner, labels, scale

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        ask = as_teacher(self.inner).denoise
        times = t.float().expand(len(x_t))
        x_0 = ask(x_t, times, self.labels)
        if self.scale == 1:
            return x_0
        free = ask(x_t, times, torch.full_like(self.labels, self.classes))
        return free + self.scale * (x_0 - free)


class Draws(Together):
    """The same of a denoising diffusion GAN, class by class."""

    def kernel(self, x_t: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Kernel:
        inner = self.inner
        assert isinstance(inner, DenoisingGANPrior)

        def draw(z: Tensor) -> Tensor:
            parts = [
                inner.for_label(int(label)).draw(row, noise, t)
                for label, row, noise in zip(
                    self.labels, torch.split(x_t, 1), torch.split(z, 1), strict=True
                )
            ]
            return torch.cat(parts)

        kernel = inner.kernel(x_t, t, s, eta)
        bridge = inner.diffusion.bridge
        return type(kernel)(lambda z: bridge(x_t, draw(z), t, s), lambda: x_t, x_t)  # type: ignore


def make(data: Path, out: Path, name: str, share: float = 1.0) -> Path:
    """Return the folder of the weights of a run, which is made if it is not there.

    Arguments:
        share: Of the minutes of the run.
    """
    own = RUNS[name]
    weights = out / name / "weights"
    if weights.exists():
        return weights
    teacher = own.teacher if own.teacher not in RUNS else str(make(data, out, own.teacher, share))
    train(
        [data],
        out / name,
        minutes=share * own.minutes,
        objective=own.objective,
        teacher=teacher,
        init=None if own.init is None else Path(own.init),
        every=100,
    )
    return weights


def samples(inner: Prior, way: Way, steps: int, count: int) -> tuple[Tensor, Tensor]:
    """Return images of all classes, ``(N, 1, 28, 28)``, and their classes ``(N,)``."""
    assert isinstance(inner, NetworkPrior)
    labels = torch.arange(inner.classes).repeat_interleave(count)
    kind = Draws if isinstance(inner, DenoisingGANPrior) else Together
    prior = kind(inner, labels, way.scale)
    noise = Noise(0, [f"image {i}" for i in range(len(labels))])
    x_T = prior.diffusion.terminal((len(labels), *prior.shape)).sample(noise)
    sampler = build(way.sampler.format(steps), ("samplers",))
    return sampler(prior, x_T, noise).clamp(-1, 1), labels


def rows_of(
    data: Path, out: Path, folder: Path, count: int, ways: Sequence[Way], share: float
) -> list[Row]:
    """Return the rows of the table; those that are not in the ledger are measured.

    Arguments:
        count: Samples of each class.
        ways: What is measured, beside the training images.
        share: Of the minutes of each run.
    """
    ledger = Ledger(out / "rows.csv", FIELDS, 2)
    with np.load(data) as file:
        judge = Judge(folder, states(file["x_test"]))
        real, truth = file["x_train"], file["y_train"]
    classifier = load(folder)

    def add(name: str, steps: int, calls: int, x: Tensor, labels: Tensor) -> None:
        told = torch.cat([classifier(part).argmax(1) for part in torch.split(x, 500)])
        share = float((told == labels).double().mean())
        row = {"name": name, "steps": steps, "calls": calls, "distance": judge(x), "told": share}
        ledger.add(row)
        print(row, flush=True)

    for way in ways:
        for steps in way.steps:
            if (way.name, steps) in ledger:
                continue
            name = way.prior.format(steps)
            prior = load_prior(str(make(data, out, name, share)) if name in RUNS else name)
            x, labels = samples(prior, way, steps, count)
            add(way.name, steps, steps * way.calls, x, labels)
    if ("training images", 0) not in ledger:
        index = np.concatenate([np.flatnonzero(truth == c)[:count] for c in range(10)])
        add("training images", 0, 0, states(real[index]), torch.from_numpy(truth[index]).long())
    return ledger.rows


def table(rows: list[Row]) -> str:
    """Return the distance and the share of samples told right, as markdown."""
    steps = sorted({int(row["steps"]) for row in rows} - {0})
    lines = []
    for name in tables.unique(rows, "name"):
        own = {int(row["steps"]): row for row in rows if row["name"] == name}
        if 0 in own:
            lines.append([name, *[""] * (len(steps) - 1), cell(own[0])])
            continue
        lines.append([name, *(cell(own[n]) if n in own else "" for n in steps)])
    return tables.markdown(["", *(f"{n} steps" for n in steps)], lines)


def cell(row: Row) -> str:
    """Return the text of a cell."""
    return f"{float(row['distance']):.3f}, {float(row['told']):.2f}"


def draw(path: Path, rows: list[Row]) -> None:
    """Draw the distance over the calls, if matplotlib is installed."""
    chosen = [row for row in rows if "guidance" not in row["name"] and int(row["steps"])]
    curves = {
        name: [(float(r["calls"]), float(r["distance"])) for r in chosen if r["name"] == name]
        for name in tables.unique(chosen, "name")
    }
    curves = {name: [p for p in points if p[0] <= max(STEPS)] for name, points in curves.items()}
    try:
        figures.curves(path, curves, axes=("network calls", "Frechet distance"))
    except FigureError as error:
        print(error)


def main(
    data: Annotated[Path, typer.Argument(help="NPZ file of Fashion-MNIST: x_train, y_train ...")],
    out: Annotated[Path, typer.Option(help="Folder of the runs, the rows, table and plot.")],
    classifier: Annotated[Path, typer.Option(help="Its folder.")] = ROOT / "data/fashion",
    count: Annotated[int, typer.Option(help="Samples of each class.")] = 50,
    only: Annotated[str, typer.Option(help="How the names of the rows begin.")] = "",
    share: Annotated[float, typer.Option(help="Share of the minutes of each run.")] = 1.0,
) -> None:
    """Train what is not there, measure, and print the table."""
    ways = [way for way in WAYS if way.name.startswith(only)]
    rows = rows_of(data, out, classifier, count, ways, share)
    text = table(rows)
    print(text)
    (out / "table.md").write_text(text + "\n")
    draw(out / "few_steps.png", rows)


if __name__ == "__main__":
    run(main)
