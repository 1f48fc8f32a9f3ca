"""Make a corrupted dataset: images, measured as a recipe says.

    python scripts/corrupt.py data/samples data/recipes/deblurring.toml runs/blurred

Same seed, same bytes, whatever other images are in the folder; scripts/benchmark.py takes it
from there.
"""

from pathlib import Path
from typing import Annotated

import typer

from diffprior.evaluation.datasets import corrupt
from diffprior.io import files


def main(
    images: Annotated[str, typer.Argument(help="A folder of images, one, or a pattern.")],
    recipe: Annotated[Path, typer.Argument(help="A TOML file, as those of data/recipes.")],
    out: Annotated[Path, typer.Argument(help="The folder of the dataset.")],
    seed: Annotated[int, typer.Option(help="Of masks, kernels and noise.")] = 0,
    side: Annotated[
        int | None, typer.Option(help="Short side in pixels, 0 for whole; else the recipe's.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="How many of the images, by name.")] = None,
    problem: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
) -> None:
    """Measure images by a recipe; exit with 1 if a measurement failed."""
    try:
        found = files.find([images])[:limit]
        failures = corrupt(found, recipe, out, seed=seed, side=side, problems=problem or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(int(failures > 0))


if __name__ == "__main__":
    typer.run(main)
