"""Measure the default of every restoration task next to classical methods.

    python scripts/tables/restoration.py data/samples --out runs/restoration

Degradations are simulated with fixed seeds. A blur is a real one: the whole scene is blurred, and
the image is cut from it, so that the blur reaches in from beyond its border. "mirrored" is the
default with ``boundary="reflect"``, which takes that for a mirror image.

Rows are written to ``rows.csv`` as they come, and a run that was stopped goes on; ``table.md``
holds the means. The score is the PSNR in dB; for colors it is the root mean square error in a and b
of CIELAB, lower is better.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from skimage.color import rgb2lab
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.classical import baselines
from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables
from diffprior.evaluation.datasets import load
from diffprior.io import files
from diffprior.io.ledger import Ledger, Row
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.base import Operator
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.blur import Blur
from diffprior.operators.gray import Gray
from diffprior.operators.identity import Identity
from diffprior.random import Noise
from diffprior.runtime.results import Result
from diffprior.runtime.surroundings import Surroundings

FIELDS = ("picture", "problem", "method", "score", "seconds")
CLASSICAL = {
    Identity: ("wavelet", "tv", "nlm"),
    Bicubic: ("bicubic",),
    Blur: ("input", "richardson-lucy", "wiener"),
    Gray: ("grey",),
}


Restore = Callable[[Tensor], Result[Any]]  # of images in [0, 1]


class Degradation(NamedTuple):
    """An operator, its noise level in [0, 1], and our ways to restore images, by name."""

    operator: Operator
    sigma: float
    ours: Mapping[str, Restore]


def denoising(level: int) -> Degradation:
    """Return white noise of a standard deviation in units of 1/255."""
    sigma = level / 255
    return Degradation(Identity(), sigma, {"default": lambda y: diffprior.denoise(y, sigma=sigma)})


def upscaling(scale: int) -> Degradation:
    """Return bicubic reduction."""
    return Degradation(
        Bicubic(scale), 0.0, {"default": lambda y: diffprior.super_resolve(y, scale)}
    )


def deblurring(kernel: str, sigma: float) -> Degradation:
    """Return a blur of the whole scene with white noise, sigma in [0, 1]."""
    A = Blur(kernel, "free")
    deblur = partial(diffprior.deblur, kernel=A.kernel, sigma=sigma)
    return Degradation(
        A, sigma, {"mirrored": partial(deblur, boundary="reflect"), "default": deblur}
    )


PROBLEMS = {
    "denoise 15": denoising(15),
    "denoise 25": denoising(25),
    "denoise 50": denoising(50),
    "upscale 2": upscaling(2),
    "upscale 4": upscaling(4),
    "Gaussian 3.0, 0.01": deblurring("gaussian:3", 0.01),
    "Gaussian 3.0, 0.05": deblurring("gaussian:3", 0.05),
    "motion, 0.01": deblurring("shake:31,0.5,0", 0.01),
    "motion, 0.05": deblurring("shake:31,0.5,0", 0.05),
    "colors": Degradation(Gray("luminance"), 0.0, {"default": diffprior.colorize}),
}


def scene(path: Path, side: int, around: Surroundings) -> Tensor:
    """Return an image in [0, 1] with its surroundings; without them its short side is ``side``."""
    wide = load(path, side + max(around.left + around.right, around.above + around.below))
    if any(around):
        return wide
    return wide[..., : wide.shape[-2] // 4 * 4, : wide.shape[-1] // 4 * 4]


def measured(problem: Degradation, truth: Tensor, seed: int) -> GaussianLikelihood[Operator]:
    """Return the likelihood of a measurement of an image in [0, 1], clipped as in a file."""
    A = problem.operator.for_shape(tuple(truth.shape[1:]))
    noisy = GaussianLikelihood(operator=A, sigma=2 * problem.sigma)
    likelihood = noisy.measure(2 * truth - 1, Noise(0, [seed]))
    return replace(likelihood, y=likelihood.y.clamp(-1, 1))


def restored(method: str, problem: Degradation, likelihood: GaussianLikelihood[Operator]) -> Tensor:
    """Return the image in [0, 1] that a method restores from a measurement."""
    y = (likelihood.y + 1) / 2
    if method == "input":
        return y
    if method == "grey":
        return y.expand(-1, 3, -1, -1)
    if method in problem.ours:
        image: Tensor = problem.ours[method](y).image
        return image
    x = baselines.restore(f"classical:{method}", likelihood)
    return (Surroundings.of(likelihood.operator).cut(x) + 1) / 2


def score(problem: str, x: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB, or the error in a and b of CIELAB for colors."""
    if problem == "colors":
        a, b = (rgb2lab(p[0].clamp(0, 1).movedim(0, -1).numpy())[..., 1:] for p in (x, truth))
        return float(((a - b) ** 2).mean() ** 0.5)
    return metrics.psnr(2 * x.float() - 1, 2 * truth - 1).item()


def table(rows: list[Row]) -> str:
    """Return the means as markdown, a line for each problem and method."""
    lines = []
    for problem, method in dict.fromkeys((row["problem"], row["method"]) for row in rows):
        own = [row for row in rows if (row["problem"], row["method"]) == (problem, method)]
        means = [f"{tables.mean(own, field):.2f}" for field in ("score", "seconds")]
        lines.append([problem, method, *means, str(len(own))])
    return tables.markdown(["problem", "method", "score", "seconds", "n"], lines)


def main(
    images: Annotated[list[str], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder of the rows and the table.")],
    side: Annotated[int, typer.Option(help="Short side in pixels, a multiple of 4.")] = 256,
    limit: Annotated[int, typer.Option(help="Number of images of each folder.")] = 1000,
    problem: Annotated[list[str] | None, typer.Option(help="Run only this problem.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Run only this method.")] = None,
) -> None:
    """Run the benchmark."""
    problems = chosen("--problem", problem, [*PROBLEMS])
    classical = [name for names in CLASSICAL.values() for name in names]
    ours = [name for degradation in PROBLEMS.values() for name in degradation.ours]
    methods = chosen("--method", method, list(dict.fromkeys([*classical, *ours])))
    ledger = Ledger(out / "rows.csv", FIELDS, 3)
    paths = [path for folder in images for path in files.find([folder])[:limit]]
    for number, image in enumerate(paths):
        for name in problems:
            degradation = PROBLEMS[name]
            around = Surroundings.of(degradation.operator)
            wide = scene(image, side, around)
            likelihood = measured(degradation, wide, number)
            truth = around.cut(wide)
            for how in (*CLASSICAL[type(degradation.operator)], *degradation.ours):
                if (image.name, name, how) in ledger or how not in methods:
                    continue
                start = time.perf_counter()
                x = restored(how, degradation, likelihood)
                row = {"picture": image.name, "problem": name, "method": how}
                row["seconds"] = f"{time.perf_counter() - start:.3f}"
                ledger.add(row | {"score": f"{score(name, x, truth):.4f}"})
    text = table(ledger.rows)
    (out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    run(main)
