"""Compare our methods with those of azula and deepinv: one prior, the same measurements.

    pip install -e ".[peers]"
    python scripts/peers/compare.py data/samples --out runs/peers --limit 3

Every method has the same number of network calls for each image. Each package runs all its
settings, its defaults among them, with the first three seeds. The setting with the highest PSNR
runs with the other seeds too. All images are one batch, except for the DPS of azula: it takes one
norm over its whole batch, so its images run one by one. Seconds are processor time, which other
work on the machine does not change. Rows are written to ``rows.csv`` as they come, and a run that
was stopped goes on; ``table.md`` holds the means, for seconds the medians.
"""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import typer
from scene import CachedPrior, Run, Scene
from torch import Tensor

from diffprior import metrics
from diffprior.catalog import build
from diffprior.classical.fill import biharmonic
from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables
from diffprior.evaluation.datasets import load
from diffprior.io import files
from diffprior.io.ledger import Ledger, Row
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.circular_blur import CircularBlur
from diffprior.operators.mask import Mask
from diffprior.pretrained.load import load_prior
from diffprior.priors.counted import CountedPrior
from diffprior.random import Noise
from diffprior.tasks import deblur, inpaint

try:
    import azula_peers
    import deepinv_peers
except ImportError as error:
    sys.exit(f"this script needs azula and deepinv: pip install 'diffprior[peers]' ({error})")

SIGMA = 0.05  # of y, in [-1, 1]
CHOOSING = 3  # seeds that run with all settings
FIELDS = ("problem", "method", "who", "seed", "psnr", "chi2", "seconds", "calls", "vjps", "error")
COOL = "ancestral(temperature=0.7)"
OURS: dict[str, tuple[float, dict[str, str]]] = {  # network calls of a step, and settings
    "DPS": (1, {"": "dps()", "zeta 8": "dps(zeta=8.0)"}),
    "DiffPIR": (
        1,
        {
            "": "diffpir()",
            "start 2": "diffpir(start=2.0)",
            "start 2, weight 0.1": "diffpir(start=2.0, weight=0.1)",
            "vp, eta 0": "diffpir(sampler=ddim(grid='vp', eta=0.0))",
        },
    ),
    "PiGDM": (
        1,
        {"": "pigdm()", "start 2, temperature 0.7": f"pigdm(start=2.0, sampler={COOL})"},
    ),
    "TMPD": (
        1,
        {
            "": "tmpd()",
            "vp": "tmpd(sampler=ancestral(grid='vp'))",
            "start 2, temperature 0.7": f"tmpd(start=2.0, sampler={COOL})",
        },
    ),
    "MMPS, 1": (1, {"": "mmps(iterations=1, sampler=ancestral())"}),
    "MMPS, 3": (  # vp: the times of azula and deepinv; 5 iterations have the products of their 3
        1,
        {
            "": "mmps(iterations=3, sampler=ancestral())",
            "vp": "mmps(iterations=3, sampler=ancestral(grid='vp'))",
            "start 2, temperature 0.7": f"mmps(iterations=3, start=2.0, sampler={COOL})",
            "5, start 2, temperature 0.7": f"mmps(iterations=5, start=2.0, sampler={COOL})",
        },
    ),
    "MMPS, 5": (
        1,
        {
            "": "mmps(iterations=5, sampler=ancestral())",
            "vp": "mmps(iterations=5, sampler=ancestral(grid='vp'))",
            "start 2, temperature 0.7": f"mmps(iterations=5, start=2.0, sampler={COOL})",
        },
    ),
    "RePaint": (  # 16 of 20 calls; azula uses 18
        3.3,
        {"": "repaint(jump=1, repeats=3)", "logsnr": "repaint(jump=1, repeats=3, grid='logsnr')"},
    ),
    "DDRM": (
        1,
        {
            "": "ddrm()",
            "start 2": "ddrm(start=2.0)",
            "start 2, eta 1": "ddrm(start=2.0, eta=1.0)",
            "start 2, temperature 0.7": f"ddrm(start=2.0, sampler={COOL})",
        },
    ),
    "ALD": (20 / 19, {"": "ald()", "gamma 0.25": "ald(gamma=0.25)"}),
    "Score-SDE": (2, {"": "score_sde()"}),
    "ILVR": (1, {"": "ilvr()"}),
}

Guess = Callable[[Tensor], Tensor]


class Setup(NamedTuple):
    """An operator, our default method for it, and the guess that this method starts from."""

    operator: Any
    default: str
    guess: Guess | None = None


def setups(shape: tuple[int, ...]) -> dict[str, Setup]:
    """Return the problems for images of a shape."""
    side = shape[-1]
    third = shape[-1] // 3
    box = torch.ones(1, side, side)
    box[:, third:-third, third:-third] = 0
    pixels = Noise(0, ["pixels"]).uniform(torch.empty(1, 1, side, side))[0].round()

    def hole(keep: Tensor, default: str) -> Setup:
        return Setup(Mask(keep), default, lambda y: biharmonic(y, (keep == 0)[None]))

    def enlarge(y: Tensor) -> Tensor:
        return F.interpolate(y, size=shape[1:], mode="bicubic")

    return {
        "half the pixels": hole(pixels, inpaint.THIN),
        "box": hole(box, inpaint.DEEP),
        "upscale 4": Setup(Bicubic(4, shape), "dpir(start=0.4, steps=30)", enlarge),
        "Gaussian 1.5": Setup(CircularBlur("gaussian:1.5", shape), deblur.KNOWN),
        "motion 15": Setup(CircularBlur("shake:15,0.5,0", shape), deblur.KNOWN),
    }


def ours(spec: str, passes: float = 1, guess: Guess | None = None) -> Run:
    """Return the run of one of our methods.

    Arguments:
        spec: Text of the method.
        passes: Network calls of each step.
        guess: Returns the image to start from, for a measurement.
    """

    def run(scene: Scene, calls: int) -> Tensor:
        method = build(spec).with_steps(round(calls / passes))
        start = guess(scene.likelihood.y) if guess else None
        x: Tensor = method(scene.prior, scene.likelihood, seed=scene.seed, guess=start)
        return x.reshape(-1, *scene.prior.shape)

    return run


def runs(method: str, setup: Setup) -> dict[str, Run]:
    """Return the runs of a method on a problem, ours and those of the peers, by their names."""
    if method == "default":
        return {"ours": ours(setup.default, guess=setup.guess)}
    passes, settings = OURS[method]
    own = {
        f"ours, {name}".removesuffix(", "): ours(spec, passes) for name, spec in settings.items()
    }
    return own | azula_peers.PEERS.get(method, {}) | deepinv_peers.PEERS.get(method, {})


def measure(run: Run, scene: Scene, calls: int, truth: Tensor) -> Row:
    """Return the numbers of a run, or the error that ended it."""
    torch.manual_seed(scene.seed)
    scene.prior.count.clear()
    start = time.process_time()
    try:
        x = run(scene, calls)
    except Exception as error:  # a failure of a peer is a result
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    seconds = time.process_time() - start
    count = scene.prior.count
    if not x.isfinite().all():
        return {"error": "the result holds NaN"}
    numbers = {
        "psnr": metrics.psnr(x, truth).mean(),
        "chi2": scene.likelihood.chi2(x).mean(),
        "seconds": seconds,
        "calls": count["calls"] / len(truth),
        "vjps": count["vjps"] / len(truth),
    }
    return {key: f"{number:.4g}" for key, number in numbers.items()}


def mean(rows: list[Row], key: str) -> float:
    """Return the mean of a column, for seconds the median, over the runs that did not fail."""
    values = [float(r[key]) for r in rows if r["psnr"]]
    return float((np.median if key == "seconds" else np.mean)(values)) if values else np.nan


def standard_error(rows: list[Row]) -> float:
    """Return the standard error of the mean PSNR over the seeds; NaN for one seed."""
    values = [float(r["psnr"]) for r in rows if r["psnr"]]
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else math.nan


def best(rows: list[Row], package: str) -> str:
    """Return the setting of a package with the most PSNR over the seeds that choose it."""
    first = [r for r in rows if int(r["seed"]) < CHOOSING and r["who"].startswith(package)]
    settings = dict.fromkeys(r["who"] for r in first)
    scores = {who: mean([r for r in first if r["who"] == who], "psnr") for who in settings}
    return max(scores, key=lambda who: np.nan_to_num(scores[who], nan=-np.inf)) if scores else ""


def competes(rows: list[Row], who: str, seed: int) -> bool:
    """Return whether a setting runs with this seed."""
    return seed < CHOOSING or who == best(rows, who.split(",")[0])


def table(rows: list[Row]) -> str:
    """Return a line for each problem, method and package, at its best setting.

    The gain is our PSNR minus theirs, with its standard error over the seeds. The pace is our
    seconds over theirs. Means are over the runs that did not fail.
    """
    head = ["problem", "method", "who", "runs", "PSNR", "chi2", "s", "calls", "vjps"]
    head += ["gain, dB", "pace"]
    lines = []
    for problem, method in dict.fromkeys((r["problem"], r["method"]) for r in rows):
        group = [r for r in rows if (r["problem"], r["method"]) == (problem, method)]
        own = best(group, "ours")
        mine = [r for r in group if r["who"] == own]
        for who in (own, best(group, "azula"), best(group, "deepinv")):
            theirs = [r for r in group if r["who"] == who]
            if not theirs:
                continue
            finished = sum(bool(r["psnr"]) for r in theirs)
            numbers = [mean(theirs, key) for key in ("psnr", "chi2", "seconds", "calls", "vjps")]
            cells = [f"{v:.{d}f}" for v, d in zip(numbers, (2, 2, 2, 0, 0), strict=True)]
            cells.insert(0, f"{finished} of {len(theirs)}")
            cells += ["", ""] if who == own else compared(mine, theirs)
            lines.append([problem, method, who, *cells])
    return "\n".join([tables.markdown(head, lines), *failures(rows)])


def compared(mine: list[Row], theirs: list[Row]) -> list[str]:
    """Return our gain in dB with its standard error, and the ratio of our seconds to theirs."""
    gain = mean(mine, "psnr") - mean(theirs, "psnr")
    pace = mean(mine, "seconds") / mean(theirs, "seconds")
    spread = math.hypot(standard_error(mine), standard_error(theirs))
    return [f"{gain:+.2f} ± {spread:.2f}", f"{pace:.2f}"]


def failures(rows: list[Row]) -> list[str]:
    """Return the errors of the runs that failed."""
    failed = [r for r in rows if r["error"]]
    return ["", *(f"{r['problem']}, {r['method']}, {r['who']}: {r['error']}" for r in failed)]


def margins(rows: list[Row]) -> str:
    """Return our default next to the best peer at its best setting, for each problem."""
    lines = []
    gains = []
    for problem in dict.fromkeys(r["problem"] for r in rows if r["method"] == "default"):
        group = [r for r in rows if r["problem"] == problem and r["psnr"]]
        scores = peer_scores(group)
        if not scores:
            continue
        first = max(scores, key=lambda pair: scores[pair])
        score = mean([r for r in group if r["method"] == "default"], "psnr")
        gains.append(score - scores[first])
        name = f"{first[0]} of {first[1]}: {scores[first]:.2f}"
        lines.append([problem, f"{score:.2f}", name, f"{gains[-1]:+.2f}"])
    if not gains:
        return ""
    lines.append(["mean", "", "", f"{np.mean(gains):+.2f}"])
    return tables.markdown(["problem", "default", "best peer", "margin"], lines)


def peer_scores(group: list[Row]) -> dict[tuple[str, str], float]:
    """Return the PSNR of each method of a peer at its best setting."""
    scores = {}
    for method in dict.fromkeys(r["method"] for r in group):
        own = [r for r in group if r["method"] == method]
        for who in filter(None, (best(own, package) for package in ("azula", "deepinv"))):
            scores[method, who] = mean([r for r in own if r["who"] == who], "psnr")
    return scores


def cut(path: Path, side: int) -> Tensor:
    """Return the central square of an image with a short side of twice ``side``, in [-1, 1]."""
    x = load(path, 2 * side)
    top, left = ((n - side) // 2 for n in x.shape[-2:])
    return 2 * x[..., top : top + side, left : left + side] - 1


def main(  # noqa: PLR0913 (the options of the command)
    images: Annotated[list[str], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder of the rows and the table.")],
    side: Annotated[int, typer.Option(help="Side of the crops in pixels, a multiple of 4.")] = 64,
    limit: Annotated[int, typer.Option(help="Number of images of each folder.")] = 1000,
    calls: Annotated[int, typer.Option(help="Network calls for each image.")] = 30,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    method: Annotated[list[str] | None, typer.Option(help="Run only this method.")] = None,
    problem: Annotated[list[str] | None, typer.Option(help="Run only this problem.")] = None,
    prior: Annotated[str | None, typer.Option(help="Prior, as for diffprior inpaint.")] = None,
) -> None:
    """Run the comparison."""
    methods = chosen("--method", method, ["default", *OURS])
    ledger = Ledger(out / "rows.csv", FIELDS, 4)
    paths = [path for folder in images for path in files.find([folder])[:limit]]
    truth = torch.cat([cut(path, side) for path in paths])
    model = CountedPrior(CachedPrior(load_prior(prior).for_shape(truth.shape[1:])))
    model(truth, torch.tensor(0.5))  # the first call is slower than all others
    choice = setups(tuple(truth.shape[1:]))
    for name in chosen("--problem", problem, [*choice]):
        bare = GaussianLikelihood(operator=choice[name].operator, sigma=SIGMA)
        likelihood = bare.measure(truth, Noise(0, range(len(truth))))
        for kind in methods:
            if kind == "RePaint" and not isinstance(bare.operator, Mask):
                continue
            for seed in range(seeds):
                scene = Scene(model, likelihood, seed)
                run_all(ledger, (name, kind), runs(kind, choice[name]), scene, calls, truth)
    text = "\n\n".join((table(ledger.rows), margins(ledger.rows)))
    (out / "table.md").write_text(text + "\n")
    print(text)


def run_all(
    ledger: Ledger,
    place: tuple[str, str],
    choice: dict[str, Run],
    scene: Scene,
    calls: int,
    truth: Tensor,
) -> None:
    """Run all settings of a method on a problem that are not in the ledger yet."""
    for who, setting in choice.items():
        group = [r for r in ledger.rows if (r["problem"], r["method"]) == place]
        key = (*place, who, str(scene.seed))
        if key not in ledger and competes(group, who, scene.seed):
            ledger.add(dict(zip(FIELDS, key, strict=False)) | measure(setting, scene, calls, truth))


if __name__ == "__main__":
    run(main)
