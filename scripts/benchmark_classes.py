"""The classes of Fashion-MNIST: whether they are drawn as asked, and pictures changed into another.

    python scripts/benchmark_classes.py --out runs/classes

Samples of every class are told by a classifier that was trained beside the prior. Every picture in
data/fashion is inverted under its own class and read back under another, at several guidances: how
often that succeeds, and how much of the picture it keeps. Rows of the edits go to ``rows.csv`` as
they come, and a run that was stopped goes on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from classifier import NAMES, load, states
from PIL import Image
from torch import Tensor

from diffprior import figures, images, metrics
from diffprior.catalog import build
from diffprior.ledger import Ledger, Row
from diffprior.pretrained import load_prior
from diffprior.priors.conditions import conditioned
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
)
GUIDANCE = (1.0, 3.0, 5.0)
FIELDS = ("inversion", "guidance", "label", "success", "l2", "ssim", "n")
ROOT = Path(__file__).parent.parent


def settled(text: str, stop: float, steps: int) -> Any:
    """Return an inversion of so many steps up to a time."""
    given = f"steps={steps}, stop={stop!r}"
    return build(
        f"{text[:-1]}, {given})" if text.endswith(")") else f"{text}({given})", ("inversions",)
    )


def scores(x: Tensor, source: Tensor, target: int, classifier: torch.nn.Module) -> dict[str, float]:
    """Return the means over edits ``(B, 1, 28, 28)`` of pictures; L2 is per pixel, in [0, 1]."""
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


def means(rows: list[Row], inversion: str, guidance: float) -> dict[str, float]:
    mine = [r for r in rows if (r["inversion"], r["guidance"]) == (inversion, str(guidance))]
    n = np.array([float(r["n"]) for r in mine])
    keys = ("success", "l2", "ssim")
    return {k: float((n * [float(r[k]) for r in mine]).sum() / n.sum()) for k in keys}


def table(rows: list[Row]) -> str:
    """Return the means over all classes as markdown."""
    lines = ["| inversion | guidance | success | L2 | SSIM |", "|---|---|---|---|---|"]
    for name, scale in dict.fromkeys((r["inversion"], r["guidance"]) for r in rows):
        m = means(rows, name, float(scale))
        lines.append(
            f"| `{name}` | {scale} | {m['success']:.3f} | {m['l2']:.3f} | {m['ssim']:.3f} |"
        )
    return "\n".join(lines)


def strip(parts: Sequence[Tensor]) -> Image.Image:
    """Return batches of pictures below each other, as a sheet."""
    rows = [torch.cat([*part], -1) for part in parts]
    return images.to_pil(torch.cat(rows, -2).clamp(-1, 1).expand(3, -1, -1))


def main(
    out: Annotated[Path, typer.Option(help="Folder of the rows, the table and the pictures.")],
    prior: Annotated[str, typer.Option(help="A shipped name or a folder.")] = "fashion",
    inversion: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="Only these.")] = None,
    start: Annotated[float, typer.Option(help="Noise sigma / alpha to go up to.")] = 3.0,
    steps: Annotated[int, typer.Option(help="Steps of each way.")] = 15,
    data: Annotated[Path, typer.Option(help="Pictures and classifier.")] = ROOT / "data/fashion",
    samples: Annotated[int, typer.Option(help="Of each class, told by the classifier.")] = 100,
) -> None:
    """Draw the classes, then run the edits."""
    ledger, model, classifier = Ledger(out / "rows.csv", FIELDS, 3), load_prior(prior), load(data)
    if samples:
        print(text := right(out, model, classifier, samples))
        (out / "samples.md").write_text(text + "\n")
    stop = float(model.diffusion.schedule.time(start))
    with np.load(data / "pictures.npz") as file:
        x, y = states(file["x"]), torch.from_numpy(file["y"])
    for label, target in enumerate(TARGETS):
        source, sheet = x[y == label], []
        for name in inversion or INVERSIONS:
            way, code = settled(name, stop, steps), None
            for scale in guidance or GUIDANCE:
                if (name, scale, label) in ledger:
                    continue
                if code is None:
                    own = conditioned(model, label=label, guidance=1.0)
                    code = way.encode(own, source, Noise(0, range(len(source))))
                z = way.decode(conditioned(model, label=target, guidance=scale), code)
                found = scores(z, source, target, classifier)
                ledger.add({"inversion": name, "guidance": scale, "label": label} | found)
                sheet.append(z)
        if sheet:
            strip([source, *sheet]).save(out / f"{NAMES[label]} to {NAMES[target]}.png")
    print(text := table(ledger.rows))
    (out / "table.md").write_text(text + "\n")
    points = {
        name: [
            (m["l2"], m["success"])
            for scale in sorted(
                {float(r["guidance"]) for r in ledger.rows if r["inversion"] == name}
            )
            for m in [means(ledger.rows, name, scale)]
        ]
        for name in dict.fromkeys(r["inversion"] for r in ledger.rows)
    }
    try:
        figures.curves(
            out / "edits.png", points, across="L2 to the source", up="told as the target"
        )
    except figures.FigureError as error:
        print(error)


if __name__ == "__main__":
    typer.run(main)
