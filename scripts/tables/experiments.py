"""Repeat experiments of two papers in small: what is trained here, beside what was published.

    python scripts/tables/experiments.py --clothes fashion_mnist.npz

The Swiss roll (points), the heartbeat (bits), dead leaves (images) and multiplied distributions of
"Deep Unsupervised Learning using Nonequilibrium Thermodynamics" (Sohl-Dickstein et al., 2015),
https://arxiv.org/abs/1503.03585; the ablation of "Denoising Diffusion Probabilistic Models" (Ho et
al., 2020), https://arxiv.org/abs/2006.11239, table 2, on Fashion-MNIST. Each network trains for
some minutes. K is the lower bound of the mean of log2 p(x_0), in bits, and K - L_null what is
gained over a Gaussian, or over independent bits, of the same moments.
"""

from pathlib import Path
from typing import Annotated

import typer
from experiment_ablation import VARIANTS, ablation_table
from experiment_leaves import leaves_row
from experiment_points import beat_row, roll_row
from experiment_products import products_table

from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables

NAMES = ("roll", "heartbeat", "leaves", "products", "ablation")
CLASSIFIER = Path(__file__).parents[2] / "data" / "fashion"
HEAD = ["data", "K, bits", "truth", "K - L_null", "K of 2015", "K - L_null of 2015"]


def main(  # noqa: PLR0913 (the options of the command)
    only: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(NAMES)}; can be repeated.")
    ] = None,
    clothes: Annotated[
        Path | None, typer.Option(help="NPZ file with x_train, y_train and x_test, for ablation.")
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="Row of the ablation; can be repeated.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Minutes that a network of points trains.")] = 2,
    steps: Annotated[int, typer.Option(help="Steps that a network of images trains.")] = 1500,
    chain: Annotated[int, typer.Option(help="Steps of chains: products, ablation.")] = 100,
    count: Annotated[int, typer.Option(help="Fresh points, bits and products.")] = 1000,
    measurements: Annotated[int, typer.Option(help="Measurements of each product.")] = 4,
    images: Annotated[int, typer.Option(help="Fresh images that are measured or drawn.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of data, weights and noise.")] = 0,
) -> None:
    """Print the tables."""
    names = chosen("--only", only, NAMES)
    variants = chosen("--variant", variant, tuple(VARIANTS))
    lines, notes = [], []
    for name, make in (("roll", roll_row), ("heartbeat", beat_row)):
        if name in names:
            lines.append(make(minutes, count, seed))
    if "roll" in names:
        notes.append("The roll of 2015 has a noise of its own, which is not published.")
    if "leaves" in names:
        line, note = leaves_row(steps, images, seed)
        lines.append(line)
        notes.append(note)
    if lines:
        print("\n".join([tables.markdown(HEAD, lines), *notes]), end="\n\n")
    if "products" in names:
        print(products_table((count, measurements, chain)), end="\n\n")
    if "ablation" not in names:
        return
    if clothes is None:
        print("The ablation needs --clothes, an NPZ file such as Fashion-MNIST.")
    else:
        sizes = steps, chain, images
        print(ablation_table(clothes, CLASSIFIER, variants, sizes, seed))


if __name__ == "__main__":
    run(main)
