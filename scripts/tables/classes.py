"""The classes of Fashion-MNIST: samples of each class, and images edited to another class.

    python scripts/tables/classes.py --out runs/classes

A classifier, which was trained separately, judges samples of every class. Every image in
data/fashion is inverted under its own class, up to several noise levels, and decoded under another
class, at several guidance scales: how often does the edit succeed, and how much of the image does
it keep? Rows of the edits are written to ``rows.csv`` as they come, and a run that was stopped goes
on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from fashion_classifier import NAMES, load, states
from PIL import Image
from torch import Tensor

from diffprior import metrics
from diffprior.catalog import build
from diffprior.cli.scripts import run
from diffprior.errors import FigureError
from diffprior.evaluation import tables
from diffprior.io import arrays, figures
from diffprior.io.ledger import Ledger, Row
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior
from diffprior.random import Noise
from diffprior.samplers.dpm import DPM

TARGETS = (2, 3, 4, 0, 6, 9, 4, 9, 2, 7)  # by class: T-shirt to pullover, trouser to dress ...
INVERSIONS = (
    "ddim_inversion",
    "ddim_inversion(rounds=4)",
    "flow",
    "direct",
    "edict",
    "edit_friendly",
    "edit_friendly(eta=0.25)",
)
STARTS = (1.5, 3.0, 6.0)
GUIDANCE = (1.0, 2.0, 3.0, 5.0)
SUCCESS = (0.8, 0.9, 0.95)  # rates at which inversions are compared
FIELDS = ("inversion", "start", "guidance", "label", "success", "l2", "ssim", "n")
Point = tuple[float, float, float]  # success rate, L2, SSIM
ROOT = Path(__file__).parents[2]


def inversion_to(text: str, stop: float, steps: int) -> Any:
    """Return an inversion up to a time, with a number of steps."""
    head, _, settings = text.removesuffix(")").partition("(")
    settings = ", ".join(filter(None, [settings, f"steps={steps}, stop={stop!r}"]))
    return build(f"{head}({settings})", ("inversions",))


def scores(x: Tensor, source: Tensor, target: int, classifier: torch.nn.Module) -> dict[str, float]:
    """Return the mean scores of edits ``(B, 1, 28, 28)``; L2 is per pixel, in [0, 1]."""
    x = x.clamp(-1, 1)
    return {
        "success": float((classifier(x).argmax(1) == target).double().mean()),
        "l2": float((x - source).square().flatten(1).mean(1).sqrt().mean() / 2),
        "ssim": float(metrics.ssim(x, source).mean()),
        "n": len(x),
    }


def drawn(model: Prior, label: int, scale: float, n: int) -> Tensor:
    """Return samples ``(n, 1, 28, 28)`` of a class at a guidance scale."""
    prior = model.with_condition(label=label, guidance_scale=scale)
    noise = Noise(0, [f"class {label}"], n)
    x_T = prior.diffusion.terminal((n, *prior.shape)).sample(noise).to(prior.like)
    return DPM(steps=25, grid="karras")(prior, x_T, noise)


def accuracy_table(out: Path, model: Prior, classifier: torch.nn.Module, n: int) -> str:
    """Write a sheet of samples; return the share that is classified correctly, as markdown."""
    lines = []
    sheet = []
    shares = []
    for label, name in enumerate(NAMES):
        x = drawn(model, label, 3.0, n)
        shares.append(float((classifier(x).argmax(1) == label).double().mean()))
        lines.append([name, f"{shares[-1]:.3f}"])
        sheet.append(x[:16])
    strip(sheet).save(out / "samples.png")
    lines.append(["mean", f"{np.mean(shares):.3f}"])
    return tables.markdown(["class", "correct at guidance 3"], lines)


def paths(rows: list[Row], inversion: str) -> dict[str, list[Point]]:
    """Return the means over all classes at each guidance scale, for each noise level."""
    own = [r for r in rows if r["inversion"] == inversion]
    result: dict[str, list[Point]] = {}
    for start in tables.unique(own, "start"):
        for scale in sorted({float(r["guidance"]) for r in own}):
            cell = [r for r in own if r["start"] == start and float(r["guidance"]) == scale]
            if cell:
                n = np.array(tables.numbers(cell, "n"))
                success, l2, ssim = (
                    float(n @ tables.numbers(cell, field) / n.sum())
                    for field in ("success", "l2", "ssim")
                )
                result.setdefault(start, []).append((success, l2, ssim))
    return result


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points with a higher success rate than all others of at most their L2."""
    out: list[Point] = []
    for point in sorted(points, key=lambda p: (p[1], -p[0])):
        if not out or point[0] > out[-1][0]:
            out.append(point)
    return out


def equal(points: Sequence[Point], success: float) -> Point | None:
    """Return the frontier at a success rate, by linear interpolation; None outside of it."""
    for low, high in pairwise(frontier(points)):
        if low[0] <= success <= high[0]:
            k = (success - low[0]) / (high[0] - low[0])
            a, b = ((1 - k) * u + k * v for u, v in zip(low[1:], high[1:], strict=True))
            return success, a, b
    return None


def table(rows: list[Row]) -> str:
    """Return L2 and SSIM of each inversion at equal success rates, as markdown."""
    head = ["inversion", *(f"L2, SSIM at {rate:.0%}" for rate in SUCCESS)]
    lines = []
    for name in tables.unique(rows, "inversion"):
        points = [point for path in paths(rows, name).values() for point in path]
        values = [equal(points, rate) for rate in SUCCESS]
        cells = [f"{value[1]:.3f}, {value[2]:.3f}" if value else "-" for value in values]
        lines.append([f"`{name}`", *cells])
    return tables.markdown(head, lines)


def strip(parts: Sequence[Tensor]) -> Image.Image:
    """Return batches of images as the rows of a sheet."""
    rows = [torch.cat([*part], -1) for part in parts]
    return arrays.to_pil(torch.cat(rows, -2).clamp(-1, 1).expand(3, -1, -1))


@dataclass(frozen=True)
class Editor:
    """Edits images to other classes.

    Arguments:
        model: Prior of the classes.
        classifier: Network that judges the edits.
        images: Images of each class.
        steps: Steps of each direction.
    """

    model: Prior
    classifier: torch.nn.Module
    images: dict[int, Tensor]
    steps: int

    def run(
        self, ledger: Ledger, name: str, start: float, scales: Sequence[float]
    ) -> dict[int, list[Tensor]]:
        """Run the edits of an inversion that are not in the ledger; return them by class."""
        stop = float(self.model.diffusion.schedule.time(start))
        inversion = inversion_to(name, stop, self.steps)
        edits: dict[int, list[Tensor]] = {}
        for label, source in self.images.items():
            code = None
            target = TARGETS[label]
            for scale in scales:
                if (name, start, scale, label) in ledger:
                    continue
                if code is None:
                    own = self.model.with_condition(label=label, guidance_scale=1.0)
                    code = inversion.encode(own, source, Noise(0, range(len(source))))
                other = self.model.with_condition(label=target, guidance_scale=scale)
                x = inversion.decode(other, code)
                head = {"inversion": name, "start": start, "guidance": scale, "label": label}
                ledger.add(head | scores(x, source, target, self.classifier))
                edits.setdefault(label, []).append(x)
        return edits


def main(  # noqa: PLR0913 (the options of the command)
    out: Annotated[Path, typer.Option(help="Folder of the rows, the table and the images.")],
    prior: Annotated[str, typer.Option(help="Shipped name or folder of the prior.")] = "fashion",
    inversion: Annotated[list[str] | None, typer.Option(help="Run only this inversion.")] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="Use only this scale.")] = None,
    start: Annotated[list[float] | None, typer.Option(help="Use only this noise level.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of each direction.")] = 15,
    data: Annotated[Path, typer.Option(help="Images and classifier.")] = ROOT / "data/fashion",
    samples: Annotated[int, typer.Option(help="Samples of each class; 0 for none.")] = 100,
    limit: Annotated[int, typer.Option(help="Images of each class.")] = 1000,
) -> None:
    """Draw samples of the classes, then run the edits."""
    ledger = Ledger(out / "rows.csv", FIELDS, 4)
    model = load_prior(prior)
    if not model.classes:
        raise typer.BadParameter(f"the prior {prior} has no classes")
    classifier = load(data)
    if samples:
        text = accuracy_table(out, model, classifier, samples)
        print(text)
        (out / "samples.md").write_text(text + "\n")
    with np.load(data / "pictures.npz") as file:
        x = states(file["x"])
        y = torch.from_numpy(file["y"])
    images = {label: x[y == label][:limit] for label in range(len(TARGETS))}
    editor = Editor(model, classifier, images, steps)
    for level in start or STARTS:
        sheets = {label: [source] for label, source in images.items()}
        for name in inversion or INVERSIONS:
            for label, edits in editor.run(ledger, name, level, guidance or GUIDANCE).items():
                sheets[label] += edits
        for label, parts in sheets.items():
            if len(parts) > 1:
                name = f"{NAMES[label]} to {NAMES[TARGETS[label]]}, {level:g}.png"
                strip(parts).save(out / name)
    text = table(ledger.rows)
    print(text)
    (out / "table.md").write_text(text + "\n")
    draw_curves(out / "edits.png", ledger.rows)


def draw_curves(path: Path, rows: list[Row]) -> None:
    """Draw the success rate of each inversion over L2, if matplotlib is installed."""
    curves = {}
    for name in tables.unique(rows, "inversion"):
        points = [point for path in paths(rows, name).values() for point in path]
        curves[name] = [(l2, success) for success, l2, _ in frontier(points)]
    try:
        figures.curves(path, curves, axes=("L2 to the source", "success rate"))
    except FigureError as error:
        print(error)


if __name__ == "__main__":
    run(main)
