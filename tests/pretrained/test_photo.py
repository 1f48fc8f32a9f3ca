"""The shipped prior on photographs: as good wherever they lie and however large they are."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import diffprior
from diffprior.io import files
from diffprior.metrics import psnr
from diffprior.priors.base import Prior

from support.exact import random

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


@pytest.fixture(scope="module")
def prior() -> Prior:
    return diffprior.load_prior()


@pytest.fixture(scope="module")
def dog() -> Tensor:
    """A photograph of 192 x 192, in [-1, 1]."""
    return files.read(SAMPLES / "dog.png").images.tensor()[..., 100:292, 200:392]


def denoise(prior: Prior, x: Tensor, sigma: float) -> Tensor:
    with torch.no_grad():
        return prior(x, prior.diffusion.schedule.time(2 * sigma / 255))


def noisy(x: Tensor, sigma: float, seed: int = 0) -> Tensor:
    return x + 2 * sigma / 255 * random(*x.shape, seed=seed, dtype=torch.float32)


def center(x: Tensor) -> Tensor:
    return x[..., 64:128, 64:128]


@pytest.mark.parametrize("sigma, least", [(15, 8.0), (25, 10.0), (50, 12.0)])
def test_it_denoises(prior: Prior, dog: Tensor, sigma: int, least: float) -> None:
    """One call gains so many dB; sigma is in units of 1/255."""
    x = noisy(dog, sigma)
    gain = psnr(denoise(prior, x, sigma), dog) - psnr(x, dog)
    assert gain.item() > least


@pytest.mark.parametrize("down, right", [(1, 0), (3, 5), (8, 8), (7, 15)])
def test_a_shift_changes_nothing(prior: Prior, dog: Tensor, down: int, right: int) -> None:
    """The center of an image cut off at the top left, by no multiple of the stride: 0.1 dB."""
    x = noisy(dog, 25)
    whole, cut = denoise(prior, x, 25), denoise(prior, x[..., down:, right:], 25)
    moved = torch.nn.functional.pad(cut, (right, 0, down, 0))
    a, b = (psnr(center(e), center(dog)) for e in (whole, moved))
    assert (a - b).abs().item() < 0.1
    assert psnr(center(moved), center(whole)).item() > 10 + a.item()  # the same image, too


@pytest.mark.parametrize("side", [160, 177, 191])
def test_padding_changes_nothing(prior: Prior, dog: Tensor, side: int) -> None:
    """Cut at the bottom right, and so padded inside by reflection: 0.1 dB."""
    x = noisy(dog, 25)
    whole, cut = denoise(prior, x, 25), denoise(prior, x[..., :side, :side], 25)
    assert cut.shape[-2:] == (side, side)
    a, b = (psnr(center(e), center(dog)) for e in (whole, cut))
    assert (a - b).abs().item() < 0.1


@pytest.fixture(scope="module")
def large(dog: Tensor) -> Tensor:
    """The photograph and its mirror images, 768 x 768, shifted so that no seam is on the grid."""
    x = torch.cat([dog, dog.flip(-1)], -1)
    x = torch.cat([x, x.flip(-2)], -2)
    return x.repeat(1, 1, 2, 2).roll((5, 11), (-2, -1))


@pytest.fixture(scope="module")
def cleaned(prior: Prior, large: Tensor) -> Tensor:
    return denoise(prior, noisy(large, 25), 25)


def test_a_large_image_is_no_worse_and_has_no_cast(
    prior: Prior, dog: Tensor, large: Tensor, cleaned: Tensor
) -> None:
    """Trained on crops of 128: as good on 768, with every channel's mean in place to 1/255."""
    small = denoise(prior, noisy(dog, 25), 25)
    assert psnr(cleaned, large).item() > psnr(small, dog).item() - 0.2
    drift = (cleaned - large).mean((0, 2, 3)).abs()
    assert drift.max().item() < 2 / 255


def test_a_large_image_has_no_grid(large: Tensor, cleaned: Tensor) -> None:
    """What is taken for noise has no period: the error's mean by place modulo the stride is flat.

    Of 16 x 16 places each mean is of some 2300 pixels that neighbors share; 6 standard errors
    of that many independent ones over the channels leave room for it, and a grid of 1/255 shows.
    """
    error = cleaned - large
    places = error.mean((0, 1)).reshape(48, 16, 48, 16).mean((0, 2))
    assert (places - places.mean()).abs().max().item() < 2 / 255


@pytest.mark.parametrize("sigma", [5, 25, 100])
def test_half_weights_and_half_precision_lose_nothing(
    prior: Prior, dog: Tensor, sigma: int
) -> None:
    """bfloat16 autocast, as the command line runs, against float32: 0.02 dB."""
    x = noisy(dog, sigma)
    with torch.autocast("cpu", torch.bfloat16):
        half = denoise(prior, x, sigma).float()
    difference = psnr(half, dog) - psnr(denoise(prior, x, sigma), dog)
    assert difference.abs().item() < 0.02
