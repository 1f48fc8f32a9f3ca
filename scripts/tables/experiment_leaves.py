"""Dead leaves of 2015: a small network, and what its bits per pixel are worth."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from experiment_images import BATCH, Trained, as_states, train
from experiment_points import Together, row
from torch import Tensor

from diffprior.densities.bound import limit_bound
from diffprior.random import Noise
from diffprior.training.dead_leaves import DeadLeaves
from diffprior.training.labelled import ClassedImages

LEAVES = DeadLeaves(smallest=1.0, largest=16.0)
SIDE, IMAGES = 32, 10_000
BLACK, WHITE = 16, 239  # of the leaves, so that the noise has room
GRAY = (WHITE - BLACK) / math.sqrt(12)  # the deviation of the leaves, in levels
GRAIN = 0.05 * GRAY  # that of the noise
LAW = "edm(p_mean=-2.5, p_std=1.5, sigma_min=0.005, sigma_max=20)"
NULL = -math.log2(2 * math.pi * math.e) / 2  # of a Gaussian of unit deviation
Data = np.ndarray[Any, Any]


def leaves(count: int, rng: np.random.Generator) -> Data:
    """Return noisy dead leaves of 256 levels, ``(count, 32, 32)``."""
    clean = BLACK + (WHITE - BLACK) * LEAVES.draw(count, SIDE, rng)
    noisy = clean + GRAIN * rng.standard_normal(clean.shape)
    return np.asarray(noisy.round().clip(0, 255).astype(np.uint8))


def gaussian_bound() -> float:
    """Return K of the Gaussian that has the covariance of the images, in bits a pixel."""
    i, j = np.divmod(np.arange(SIDE**2), SIDE)
    squares = (i[:, None] - i) ** 2 + (j[:, None] - j) ** 2
    distances, which = np.unique(squares, return_inverse=True)
    shared = LEAVES.same_leaf(np.sqrt(distances))[which.reshape(squares.shape)]
    power = GRAY**2 + GRAIN**2
    covariance = (GRAY**2 * shared + GRAIN**2 * np.eye(len(i))) / power
    return NULL - float(np.linalg.slogdet(covariance)[1]) / math.log(2) / 2 / len(i)


def ceiling() -> float:
    """Return what K cannot exceed: all but the noise of a pixel is known."""
    return NULL - math.log2(GRAIN / math.hypot(GRAY, GRAIN))


def trained(steps: int, seed: int, rng: np.random.Generator) -> Trained:
    """Return a network of dead leaves."""
    count = min(IMAGES, BATCH * steps)
    with TemporaryDirectory() as folder:
        x, y = leaves(count, rng), np.zeros(count, np.uint8)
        np.savez(file := Path(folder) / "leaves.npz", x_train=x, y_train=y, x_test=x[:1])
        return train(ClassedImages(file), LAW, steps, seed)


def bits_per_pixel(model: Trained, x_0: Tensor) -> Tensor:
    """Return K of each image of 256 levels, in bits a pixel of images of unit deviation."""
    bound = limit_bound(Together(model.prior), x_0, 32, Noise(seed=1, ids=range(len(x_0))))
    return math.log2(math.hypot(GRAY, GRAIN)) - bound.bits


def leaves_row(steps: int, count: int, seed: int) -> tuple[list[str], str]:
    """Return the row of the dead leaves, and what to say of it."""
    rng = np.random.default_rng(seed)
    model = trained(steps, seed, rng)
    k = bits_per_pixel(model, as_states(leaves(count, rng)))
    note = (
        f"Dead leaves: {steps} steps of {BATCH} images, {model.minutes:.1f} minutes. Their noise "
        "is 5% of the deviation of the leaves; that of 2015 is not published. A Gaussian of the "
        f"same covariance has K = {gaussian_bound():.3f}; with this noise no model exceeds "
        f"{ceiling():.3f}. MCGSM has 1.244 in the images of 2015."
    )
    return row("Dead leaves, 1 pixel", k, (None, NULL), "1.489", "3.536"), note
