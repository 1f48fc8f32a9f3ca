"""DDPM's ablation in small: what the network says, which loss, and a variance fixed or learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from experiment_images import Trained, as_states, chain_bits, draw, train
from fashion_classifier import load
from torch import Tensor, nn

from diffprior.evaluation import tables
from diffprior.metrics import frechet_distance
from diffprior.training.labelled import ClassedImages

LAYERS = 7  # of the classifier, up to the last convolution: 64 features


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A row of table 2 of DDPM.

    Attributes:
        objective: Its name here, with settings but for the steps.
        fid, bits: What was published for CIFAR-10.
    """

    objective: str
    fid: str
    bits: str = ""

    def text(self, chain: int) -> str:
        """Return the objective for a chain of so many steps."""
        return f"{self.objective[:-1]}, steps={chain})".replace("(, ", "(")


VARIANTS = {
    "mu-L-learned": Variant(objective="vlb(predicts='mu', variance='learned')", fid="23.69"),
    "mu-L-fixed": Variant(objective="vlb(predicts='mu')", fid="13.22"),
    "mu-square-fixed": Variant(objective="mu()", fid="unstable"),
    "eps-L-learned": Variant(objective="vlb(variance='learned')", fid="unstable"),
    "eps-L-fixed": Variant(objective="vlb()", fid="13.51", bits="3.70"),
    "eps-simple-fixed": Variant(objective="simple()", fid="3.17", bits="3.75"),
}


class Judge:
    """The classifier of the repository: how far images are from test images, by its features.

    Arguments:
        folder: Where its weights are.
        real: Test images, ``(N, 1, 28, 28)``.
    """

    def __init__(self, folder: Path, real: Tensor) -> None:
        self.network = nn.Sequential(*[*load(folder)][:LAYERS])
        self.real = self.features(real)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return the mean of each of 64 channels over an image, ``(N, 64)``."""
        parts = torch.split(x, 500)
        return torch.cat([self.network(part).mean((2, 3)) for part in parts])

    def __call__(self, x: Tensor) -> float:
        """Return the Frechet distance of images to the test images."""
        return float(frechet_distance(self.features(x), self.real))


def ablation_table(
    clothes: Path, folder: Path, only: Sequence[str], sizes: tuple[int, int, int], seed: int
) -> str:
    """Return the table of the ablation.

    Arguments:
        clothes: File of images with classes, as ``diffprior train`` takes it.
        folder: That of the classifier.
        only: The variants.
        sizes: Steps of training, steps of the chain, and images that are measured and drawn.
        seed: Of weights, batches and draws.
    """
    steps, chain, count = sizes
    images = ClassedImages(clothes)
    with np.load(clothes) as file:
        test = as_states(np.random.default_rng(0).permutation(file["x_test"])[: 5 * count])
    judge = Judge(folder, test)
    lines = []
    for name in only:
        variant = VARIANTS[name]
        model = train(images, variant.text(chain), steps, seed)
        lines.append([name, *measures(model, test[:count], judge), variant.fid, variant.bits])
    index = torch.randperm(len(images.pixels), generator=torch.Generator().manual_seed(seed))
    real = images.pixels[index[:count]].float() / 127.5 - 1
    lines.append(["training images", "", "", f"{judge(real):.2f}", "", ""])
    head = ["network says, loss, variance", "minutes", "bits", "Frechet", "FID, DDPM", "bits, DDPM"]
    return tables.markdown(head, lines)


def measures(model: Trained, test: Tensor, judge: Judge) -> list[str]:
    """Return the minutes, the bits per dimension with their standard error, and the distance."""
    bits = chain_bits(model, test, seed=1)
    distance = judge(draw(model, len(test), seed=2))
    error = float(bits.std()) / len(bits) ** 0.5
    return [f"{model.minutes:.1f}", f"{float(bits.mean()):.3f} ({error:.3f})", f"{distance:.2f}"]
