"""The classes of Fashion-MNIST: whether they are drawn as asked, and images changed into another.

    python scripts/tables/classes.py --out runs/classes

Samples of every class are told by a classifier that was trained beside the prior. Every image in
data/fashion is inverted under its own class, up to several noise levels, and read back under
another, at several guidances: how often that succeeds, and how much of the image it keeps. Rows
of the edits go to ``rows.csv`` as they come, and a run that was stopped goes on.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from classifier import NAMES, load, states
from PIL import Image
from torch import Tensor

from diffprior import metrics
from diffprior.catalog import build
from diffprior.evaluation import figures
from diffprior.evaluation.ledger import Ledger, Row
from diffprior.io import arrays
from diffprior.pretrained.load import load_prior
from diffprior.priors._conditions import conditioned
from diffprior.priors.labelled import LabelledPrior
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
SUCCESS = (0.8, 0.9, 0.95)  # at which inversions are compared
FIELDS = ("inversion", "start", "guidance", "label", "success", "l2", "ssim", "n")
Point = tuple[float, float, float]  # success, L2, SSIM
ROOT = Path(__file__).parents[2]


def settled(text: str, stop: float, steps: int) -> Any:
    """Return an inversion of so many steps up to a time."""
    given = f"steps={steps}, stop={stop!r}"
    return build(
        f"{text[:-1]}, {given})" if text.endswith(")") else f"{text}({given})", ("inversions",)
    )


def scores(x: Tensor, source: Tensor, target: int, classifier: torch.nn.Module) -> dict[str, float]:
    """Return the means over edits ``(B, 1, 28, 28)`` of images; L2 is per pixel, in [0, 1]."""
    x = x.clamp(-1, 1)
    return {
        "success": float((classifier(x).argmax(1) == target).double().mean()),
        "l2": float((x - source).square().flatten(1).mean(1).sqrt().mean() / 2),
        "ssim": float(metrics.ssim(x, source).mean()),
        "n": len(x),
    }


def drawn(model: LabelledPrior, label: int, scale: float, n: int) -> Tensor:
    """Return samples ``(n, 1, 28, 28)`` of a class at a guidance."""
    prior = conditioned(model, label=label, guidance=scale)
    noise = Noise(0, [f"class {label}"], n)
    x_T = prior.diffusion.terminal((n, *prior.shape)).sample(noise).to(prior.like)
    return DPM(steps=25, grid="karras")(prior, x_T, noise)


def right(out: Path, model: LabelledPrior, classifier: torch.nn.Module, n: int) -> str:
    """Return, as markdown, the share of the samples of each class that is told as that class."""
    lines, sheet = ["| class | told right at guidance 3 |", "|---|---|"], []
    shares = []
    for label, name in enumerate(NAMES):
        x = drawn(model, label, 3.0, n)
        shares.append(float((classifier(x).argmax(1) == label).double().mean()))
        lines.append(f"| {name} | {shares[-1]:.3f} |")
        sheet.append(x[:16])
    strip(sheet).save(out / "samples.png")
    return "\n".join([*lines, f"| mean | {np.mean(shares):.3f} |"])


def paths(rows: list[Row], inversion: str) -> dict[str, list[Point]]:
    """Return the means over all classes along the guidance, for each noise level gone up to."""
    mine, out = [r for r in rows if r["inversion"] == inversion], dict[str, list[Point]]()
    for start in dict.fromkeys(r["start"] for r in mine):
        for scale in sorted({float(r["guidance"]) for r in mine}):
            cell = [r for r in mine if r["start"] == start and float(r["guidance"]) == scale]
            if cell:
                n = np.array([float(r["n"]) for r in cell])
                means = [
                    float(n @ [float(r[k]) for r in cell] / n.sum())
                    for k in ("success", "l2", "ssim")
                ]
                out.setdefault(start, []).append((means[0], means[1], means[2]))
    return out


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in success at no more L2."""
    out: list[Point] = []
    for point in sorted(points, key=lambda p: (p[1], -p[0])):
        if not out or point[0] > out[-1][0]:
            out.append(point)
    return out


def equal(points: Sequence[Point], success: float) -> Point | None:
    """Return the frontier at a share of success, linear between its points; None if none is."""
    for low, high in pairwise(frontier(points)):
        if low[0] <= success <= high[0]:
            k = (success - low[0]) / (high[0] - low[0])
            a, b = ((1 - k) * u + k * v for u, v in zip(low[1:], high[1:], strict=True))
            return success, a, b
    return None


def table(rows: list[Row]) -> str:
    """Return, as markdown, L2 and SSIM of each inversion at equal success."""
    head = ["inversion", *(f"L2, SSIM at {s:.0%}" for s in SUCCESS)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name in dict.fromkeys(r["inversion"] for r in rows):
        points = [p for path in paths(rows, name).values() for p in path]
        found = [equal(points, s) for s in SUCCESS]
        cells = [f"{f[1]:.3f}, {f[2]:.3f}" if f else "-" for f in found]
        lines.append(f"| {' | '.join([f'`{name}`', *cells])} |")
    return "\n".join(lines)


def strip(parts: Sequence[Tensor]) -> Image.Image:
    """Return batches of images below each other, as a sheet."""
    rows = [torch.cat([*part], -1) for part in parts]
    return arrays.to_pil(torch.cat(rows, -2).clamp(-1, 1).expand(3, -1, -1))


def edit(
    ledger: Ledger,
    model: LabelledPrior,
    classifier: torch.nn.Module,
    images: dict[int, Tensor],
    name: str,
    start: float,
    guidance: Sequence[float],
    steps: int,
) -> dict[int, list[Tensor]]:
    """Run the edits of an inversion that are not done yet; return them by class."""
    way = settled(name, float(model.diffusion.schedule.time(start)), steps)
    made = dict[int, list[Tensor]]()
    for label, source in images.items():
        code, target = None, TARGETS[label]
        for scale in guidance:
            if (name, start, scale, label) in ledger:
                continue
            if code is None:
                own = conditioned(model, label=label, guidance=1.0)
                code = way.encode(own, source, Noise(0, range(len(source))))
            z = way.decode(conditioned(model, label=target, guidance=scale), code)
            head = {"inversion": name, "start": start, "guidance": scale, "label": label}
            ledger.add(head | scores(z, source, target, classifier))
            made.setdefault(label, []).append(z)
    return made


def main(
    out: Annotated[Path, typer.Option(help="Folder of the rows, the table and the images.")],
    prior: Annotated[str, typer.Option(help="A shipped name or a folder.")] = "fashion",
    inversion: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="Only these.")] = None,
    start: Annotated[list[float] | None, typer.Option(help="Noise to go up to.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of each way.")] = 15,
    data: Annotated[Path, typer.Option(help="Images and classifier.")] = ROOT / "data/fashion",
    samples: Annotated[int, typer.Option(help="Of each class, told by the classifier.")] = 100,
) -> None:
    """Draw the classes, then run the edits."""
    ledger, model, classifier = Ledger(out / "rows.csv", FIELDS, 4), load_prior(prior), load(data)
    if samples:
        print(text := right(out, model, classifier, samples))
        (out / "samples.md").write_text(text + "\n")
    with np.load(data / "pictures.npz") as file:
        x, y = states(file["x"]), torch.from_numpy(file["y"])
    images = {label: x[y == label] for label in range(len(TARGETS))}
    for level in start or STARTS:
        sheets = {label: [source] for label, source in images.items()}
        for name in inversion or INVERSIONS:
            scales = guidance or GUIDANCE
            made = edit(ledger, model, classifier, images, name, level, scales, steps)
            for label, edits in made.items():
                sheets[label] += edits
        for label, parts in sheets.items():
            if len(parts) > 1:
                name = f"{NAMES[label]} to {NAMES[TARGETS[label]]}, {level:g}.png"
                strip(parts).save(out / name)
    print(text := table(ledger.rows))
    (out / "table.md").write_text(text + "\n")
    curves = {
        name: [
            (p[1], p[0])
            for p in frontier([p for q in paths(ledger.rows, name).values() for p in q])
        ]
        for name in dict.fromkeys(r["inversion"] for r in ledger.rows)
    }
    try:
        figures.curves(
            out / "edits.png", curves, across="L2 to the source", up="told as the target"
        )
    except figures.FigureError as error:
        print(error)


if __name__ == "__main__":
    typer.run(main)
