"""The commands of evaluation: corrupt, bench, certify, recipes.

The module imports nothing heavy, so that the command line can read the options of its functions.
"""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bench", "certify", "corrupt", "recipes"]

RECIPES = Path(__file__).parent / "recipe_files"


def recipes() -> dict[str, str]:
    """Return the title of each shipped recipe, by its name."""
    files = sorted(RECIPES.glob("*.toml"))
    return {file.stem: tomllib.loads(file.read_text()).get("title", "") for file in files}


def corrupt(
    images: Annotated[str, typer.Argument(help="An image, a folder of images, or a pattern.")],
    recipe: Annotated[
        str, typer.Argument(help="Name of a recipe, see diffprior recipes, or a TOML file.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the dataset.")],
    seed: Annotated[int, typer.Option(help="Seed of masks, kernels and noise.")] = 0,
    side: Annotated[
        int | None,
        typer.Option(help="Short side in pixels, 0 for whole images; default: as in the recipe."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first images, by name.")
    ] = None,
    problem: Annotated[
        list[str] | None, typer.Option(help="Apply only this problem; can be repeated.")
    ] = None,
) -> None:
    """Make a corrupted dataset: measure images as a recipe says.

    The same seed gives the same files. The exit code is 1 if a measurement failed.
    """
    from ..io import files
    from . import datasets
    from .recipes import locate

    with _wrong_usage():
        paths = files.find([images])[:limit]
        chosen = problem or ()
        failures = datasets.corrupt(
            paths, locate(recipe), out, seed=seed, side=side, problems=chosen
        )
    raise typer.Exit(int(failures > 0))


def bench(  # noqa: PLR0913 (the options of the command)
    data: Annotated[Path, typer.Argument(help="Folder that diffprior corrupt wrote.")],
    out: Annotated[Path, typer.Argument(help="Folder of the rows, the images and the reports.")],
    method: Annotated[
        list[str],
        typer.Option(help='Method, as "ddrm(eta=0.85)" or classical:tv; can be repeated.'),
    ],
    prior: Annotated[
        str | None, typer.Option(help="Name of a shipped prior, a file, a folder or a hub id.")
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Samples of each posterior; 2 or more to measure coverage.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the methods.")] = 0,
    device: Annotated[
        str | None, typer.Option(help="Device: auto, cpu, cuda, cuda:n or mps.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            "--dtype",
            help="Number format of the network: auto, float32, bfloat16 or float16.",
        ),
    ] = "auto",
    backend: Annotated[
        str | None,
        typer.Option(help="What computes the network: torch, or openvino; default: torch."),
    ] = None,
    lpips: Annotated[bool, typer.Option(help="Measure LPIPS.")] = True,
    batch: Annotated[
        int | None, typer.Option(help="Images at a time; default: what fits in memory.")
    ] = None,
) -> None:
    """Measure methods on a corrupted dataset, next to classical methods and published results.

    The reports are table.md, table.csv and report.html. A run that was stopped goes on with the
    same command. Several processes share the work: torchrun -m diffprior bench ... The exit code is
    1 if a row is an error.
    """
    from ..runtime.ranks import Rank, own_device
    from .benchmark import Options, benchmark

    with _wrong_usage():
        rank = Rank.here()
        options = Options(
            samples=samples,
            seed=seed,
            dtype=precision,
            backend=backend,
            lpips=lpips,
            device=own_device(device, rank.local) if rank.size > 1 else device,
            batch=batch,
            rank=rank.number,
            world=rank.size,
        )
        errors = benchmark(data, out, method, options, prior=prior)
        print((out / "table.md").read_text(encoding="utf-8"))
    raise typer.Exit(int(errors > 0))


@contextmanager
def _wrong_usage() -> Iterator[None]:
    """Report what is wrong with the arguments, or with the files that they name, as wrong usage."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def certify(
    out: Annotated[Path, typer.Argument(help="Folder of the rows, the tables and the figure.")],
    method: Annotated[
        list[str] | None, typer.Option(help="Certify only this method; can be repeated.")
    ] = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(help="Use only this cell, d,dy or field; can be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Problems of each cell.")] = 20,
    few: Annotated[
        int,
        typer.Option(help="Problems of each cell for heuristic methods, without --method."),
    ] = 3,
    jobs: Annotated[int, typer.Option(help="Processes that share the work.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Use only d = 8 and the field, with 3 seeds.")
    ] = False,
) -> None:
    """Certify methods against exact posteriors.

    The results are table.md, table.csv and figure.png. A run that was stopped goes on with the same
    command.
    """
    from . import certification

    cells = cell or (certification.QUICK if quick else certification.CELLS)
    with _wrong_usage():
        effort = certification.Effort(
            seeds=min(seeds, 3) if quick else seeds, few=None if method else few, jobs=jobs
        )
        certification.certify(out, method or certification.METHODS, cells, effort)
