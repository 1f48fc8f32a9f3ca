"""Measure our methods beside those of azula and deepinv, round one prior, on one measurement.

    pip install -e ".[peers]"
    python scripts/peers/compare.py data/samples --out runs/peers --limit 3

Every method has the same network calls for each image, counted. Each side runs with the first
three seeds at each of its settings, its own defaults among them; the one of most PSNR goes on to
the other seeds. All images are one batch, but for azula's DPS, which takes one norm over its
whole batch and so runs image by image. Seconds are those of the processor, which other work
beside it does not lengthen. Rows go to ``rows.csv`` as they come, and a run that was stopped goes
on; ``table.md`` has the means, of seconds the medians.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import typer
from benchmark_inpainting import load
from peers import PEERS, Recalled, Run, Scene
from torch import Tensor

from diffprior import metrics
from diffprior.catalog import build
from diffprior.classical.fill import biharmonic
from diffprior.evaluation.ledger import Ledger, Row
from diffprior.io import files
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.circular_blur import CircularBlur
from diffprior.operators.mask import Mask
from diffprior.pretrained.load import load_prior
from diffprior.priors.counted import CountedPrior
from diffprior.random import Noise
from diffprior.tasks import deblur, inpaint, super_resolve

SIGMA = 0.05  # of y, in [-1, 1]
CHOOSING = 3  # seeds that run at all settings
FIELDS = ("problem", "method", "who", "seed", "psnr", "chi2", "seconds", "calls", "vjps", "error")
COOL = "ancestral(temperature=0.7)"
OURS = {  # the network calls a step, and the settings
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
    "MMPS, 3": (  # vp: the times of azula and deepinv; 5 make as many products as deepinv's 3
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
    "RePaint": (  # of 20 calls 16, where azula makes 18
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


class Problem(NamedTuple):
    """An operator, our default for it, and the guess that this one starts from."""

    operator: Any
    default: str
    guess: Guess | None = None


def problems(shape: tuple[int, ...]) -> dict[str, Problem]:
    side, third = shape[-1], shape[-1] // 3
    box = torch.ones(1, side, side)
    box[:, third:-third, third:-third] = 0
    pixels = Noise(0, ["pixels"]).uniform(torch.empty(1, 1, side, side))[0].round()

    def hole(keep: Tensor, default: str) -> Problem:
        return Problem(Mask(keep), default, lambda y: biharmonic(y, (keep == 0)[None]))

    def larger(y: Tensor) -> Tensor:
        return F.interpolate(y, size=shape[1:], mode="bicubic")

    return {
        "half the pixels": hole(pixels, inpaint.THIN),
        "box": hole(box, inpaint.DEEP),
        "upscale 4": Problem(Bicubic(4, shape), super_resolve.ONE, larger),
        "Gaussian 1.5": Problem(CircularBlur("gaussian:1.5", shape), deblur.ONE),
        "motion 15": Problem(CircularBlur("shake:15,0.5,0", shape), deblur.ONE),
    }


def ours(spec: str, passes: float = 1, guess: Guess | None = None) -> Run:
    """Return the run of a method of ours that makes as many calls."""

    def run(s: Scene, calls: int) -> Tensor:
        method, first = (
            build(spec).with_steps(round(calls / passes)),
            guess and guess(s.likelihood.y),
        )
        x = method(s.prior, s.likelihood, seed=s.seed, guess=first)
        return x.reshape(-1, *s.prior.shape)

    return run


def runs(method: str, problem: Problem) -> dict[str, Run]:
    """Return who runs a method on a problem."""
    if method == "default":
        return {"ours": ours(problem.default, guess=problem.guess)}
    passes, settings = OURS[method]
    named = {f"ours, {name}".removesuffix(", "): spec for name, spec in settings.items()}
    return {who: ours(spec, passes) for who, spec in named.items()} | PEERS[method]


def measure(run: Run, scene: Scene, calls: int, truth: Tensor) -> Row:
    """Return the numbers of a run, or the error that ended it."""
    torch.manual_seed(scene.seed)
    scene.prior.count.clear()
    start = time.process_time()
    try:
        x = run(scene, calls)
    except Exception as error:  # the row of a peer that fails
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    seconds, count = time.process_time() - start, scene.prior.count
    if not x.isfinite().all():
        return {"error": "NaN in its answer"}
    numbers = {
        "psnr": metrics.psnr(x, truth).mean(),
        "chi2": scene.likelihood.chi2(x).mean(),
        "seconds": seconds,
        "calls": count["calls"] / len(truth),
        "vjps": count["vjps"] / len(truth),
    }
    return {key: f"{number:.4g}" for key, number in numbers.items()}


def mean(rows: list[Row], key: str) -> float:
    """Return the mean of a column, the median of seconds, over the rows that did not fail."""
    values = [float(r[key]) for r in rows if r["psnr"]]
    return float((np.median if key == "seconds" else np.mean)(values)) if values else np.nan


def error(rows: list[Row]) -> float:
    """Return the standard error of the mean PSNR of some seeds; nan of one."""
    values = [float(r["psnr"]) for r in rows if r["psnr"]]
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else math.nan


def best(rows: list[Row], package: str) -> str:
    """Return the setting of a package with the most PSNR over the seeds that choose it."""
    first = [r for r in rows if int(r["seed"]) < CHOOSING and r["who"].startswith(package)]
    settings = dict.fromkeys(r["who"] for r in first)
    scores = {who: mean([r for r in first if r["who"] == who], "psnr") for who in settings}
    return max(scores, key=lambda who: np.nan_to_num(scores[who], nan=-np.inf)) if scores else ""


def compete(rows: list[Row], who: str, seed: int) -> bool:
    """Return whether a setting runs with this seed."""
    return seed < CHOOSING or who == best(rows, who.split(",")[0])


def table(rows: list[Row]) -> str:
    """Return a line for each problem, method and package, at its best setting, beside ours.

    Gained is our PSNR less theirs, with its standard error over the seeds; the pace is our seconds
    over theirs; runs are those that ended in an answer, which the means are of.
    """
    head = ["problem", "method", "who", "runs", "PSNR", "chi2", "s", "calls", "vjps"]
    head += ["dB gained", "pace"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for problem, method in dict.fromkeys((r["problem"], r["method"]) for r in rows):
        group = [r for r in rows if (r["problem"], r["method"]) == (problem, method)]
        own = best(group, "ours")
        mine = [r for r in group if r["who"] == own]
        for who in (own, best(group, "azula"), best(group, "deepinv")):
            theirs = [r for r in group if r["who"] == who]
            if not theirs:
                continue
            numbers = [mean(theirs, key) for key in ("psnr", "chi2", "seconds", "calls", "vjps")]
            cells = [f"{v:.{d}f}" for v, d in zip(numbers, (2, 2, 2, 0, 0), strict=True)]
            gain, pace = mean(mine, "psnr") - numbers[0], mean(mine, "seconds") / numbers[2]
            spread = math.hypot(error(mine), error(theirs))
            cells.insert(0, f"{sum(bool(r['psnr']) for r in theirs)} of {len(theirs)}")
            cells += ["", ""] if who == own else [f"{gain:+.2f} ± {spread:.2f}", f"{pace:.2f}"]
            lines.append(f"| {' | '.join([problem, method, who, *cells])} |")
    return "\n".join(lines + failures(rows))


def failures(rows: list[Row]) -> list[str]:
    """Return the errors of the runs that failed."""
    failed = [r for r in rows if r["error"]]
    return ["", *(f"{r['problem']}, {r['method']}, {r['who']}: {r['error']}" for r in failed)]


def margins(rows: list[Row]) -> str:
    """Return our default beside the best of all peers, each at its best setting, by problem."""
    lines, gains = ["| problem | default | best peer | margin |", "|---|---|---|---|"], []
    for problem in dict.fromkeys(r["problem"] for r in rows if r["method"] == "default"):
        group = [r for r in rows if r["problem"] == problem and r["psnr"]]
        scores = {}
        for method in dict.fromkeys(r["method"] for r in group):
            runs = [r for r in group if r["method"] == method]
            for who in filter(None, (best(runs, package) for package in ("azula", "deepinv"))):
                scores[method, who] = mean([r for r in runs if r["who"] == who], "psnr")
        if not scores:
            continue
        first = max(scores, key=lambda pair: scores[pair])
        score = mean([r for r in group if r["method"] == "default"], "psnr")
        gains.append(score - scores[first])
        name = f"{first[0]} of {first[1]}: {scores[first]:.2f}"
        lines.append(f"| {problem} | {score:.2f} | {name} | {gains[-1]:+.2f} |")
    return "\n".join([*lines, f"| mean | | | {np.mean(gains):+.2f} |"]) if gains else ""


def cut(path: Path, side: int) -> Tensor:
    """Return the middle of an image whose short side is two of these, in [-1, 1]."""
    x = load(path, 2 * side)
    top, left = ((n - side) // 2 for n in x.shape[-2:])
    return 2 * x[..., top : top + side, left : left + side] - 1


def main(
    images: Annotated[list[str], typer.Argument(help="Images or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of the rows and the table.")],
    side: Annotated[int, typer.Option(help="Side of the cuts, in pixels; a multiple of 4.")] = 64,
    limit: Annotated[int, typer.Option(help="How many images of each folder.")] = 1000,
    calls: Annotated[int, typer.Option(help="Network calls for each image.")] = 30,
    seeds: Annotated[int, typer.Option(help="How often each runs.")] = 3,
    method: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    problem: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    prior: Annotated[str | None, typer.Option(help="As of the command line.")] = None,
) -> None:
    """Run the comparison."""
    ledger = Ledger(out / "rows.csv", FIELDS, 4)
    rows = ledger.rows
    truth = torch.cat([cut(p, side) for folder in images for p in files.find([folder])[:limit]])
    model = CountedPrior(Recalled(load_prior(prior).for_shape(truth.shape[1:])))
    model(truth, torch.tensor(0.5))  # the first call is slower than all others
    choice = problems(tuple(truth.shape[1:]))
    for name in problem or choice:
        bare = GaussianLikelihood(operator=choice[name].operator, sigma=SIGMA)
        likelihood = bare.measure(truth, Noise(0, range(len(truth))))
        for kind in method or ["default", *OURS]:
            if kind == "RePaint" and not isinstance(bare.operator, Mask):
                continue
            for seed in range(seeds):
                for who, run in runs(kind, choice[name]).items():
                    group = [r for r in rows if (r["problem"], r["method"]) == (name, kind)]
                    key = (name, kind, who, str(seed))
                    if key in ledger or not compete(group, who, seed):
                        continue
                    row = measure(run, Scene(model, likelihood, seed), calls, truth)
                    ledger.add(dict(zip(FIELDS, key, strict=False)) | row)
    text = "\n\n".join((table(rows), margins(rows)))
    (out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    typer.run(main)
