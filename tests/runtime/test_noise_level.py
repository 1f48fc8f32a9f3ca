"""The noise of an image, by a prior whose likelihood of sigma is known, and by the shipped one."""

from pathlib import Path

import pytest
import torch

import diffprior
from diffprior.io import files
from diffprior.priors.mixture import MixturePrior
from diffprior.runtime.noise_level import noise_level, wavelet_noise
from diffprior.runtime.placement import prepare_prior

from support.exact import random

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
SHAPE, V = (3, 12, 12), 0.04


@pytest.fixture(scope="module")
def flat() -> MixturePrior:
    one = torch.ones(1, dtype=torch.float64)
    return MixturePrior(one, torch.zeros(1, *SHAPE, dtype=torch.float64), V * one)


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_em_finds_the_most_likely_sigma(flat: MixturePrior, sigma: float) -> None:
    """Of y ~ N(0, V + sigma^2) it is (mean y^2 - V)^(1/2); in [0, 1] units half of that."""
    y = (V + sigma**2) ** 0.5 * random(1, *SHAPE, seed=1)
    best = (y.square().mean() - V).clamp_min(0).sqrt()
    assert abs(noise_level(flat, y, 0.5, rounds=200) - best / 2) < 1e-3


def test_a_round_is_the_mean_square_distance_to_the_posterior(flat: MixturePrior) -> None:
    """sigma^2 <- mean (y - x_0)^2 + V sigma^2 / (V + sigma^2), x_0 = V y / (V + sigma^2)."""
    y, sigma = random(1, *SHAPE, seed=2), 0.6
    shrunk = V / (V + sigma**2)
    expected = ((1 - shrunk) ** 2 * y.square().mean() + shrunk * sigma**2).sqrt()
    assert noise_level(flat, y, sigma / 2, rounds=1) == pytest.approx(float(expected) / 2, rel=1e-6)


@pytest.mark.parametrize(("sigma", "share"), [(0.01, 0.2), (0.05, 0.8)])
def test_texture_is_not_noise(sigma: float, share: float) -> None:
    """On grass the wavelet's median is over by half at 0.01; the prior errs by a share of that."""
    x = files.read(SAMPLES / "grass.png").images.tensor()[..., 200:296, 200:296]
    y = x + 2 * sigma * random(*x.shape, dtype=torch.float32)
    (wavelet,) = wavelet_noise(y)
    found = noise_level(prepare_prior(None, (3, 96, 96)), y, wavelet)
    assert abs(found / sigma - 1) < 0.07
    assert abs(found - sigma) < share * abs(wavelet - sigma)


def test_the_window_is_the_one_that_is_clipped_least() -> None:
    """A white half of the image says nothing of its noise."""
    x = files.read(SAMPLES / "dog.png").images.tensor()[..., 110:366, 240:496] * 0.9
    y = x + 0.1 * random(*x.shape, dtype=torch.float32)
    y = torch.cat([torch.ones_like(y), y], 3).clamp(-1, 1)
    assert abs(noise_level(prepare_prior(None, (3, 256, 512)), y, 0.05, rounds=2) - 0.05) < 0.003


def test_denoising_asks_the_prior() -> None:
    x = files.read(SAMPLES / "grass.png").images.tensor()[..., 200:264, 200:264]
    y = ((x + 0.04 * random(*x.shape, dtype=torch.float32)) / 2 + 0.5).clamp(0, 1)
    assert diffprior.denoise(y).report["sigma"] == pytest.approx([0.02], rel=0.1)


def test_flat_images_and_flat_channels_have_no_noise() -> None:
    """Whatever the gray; and they do not hide the noise of the others."""
    x = torch.linspace(-1, 1, 256)[:, None, None, None].expand(256, 3, 40, 48).clone()
    assert max(wavelet_noise(x)) < 1e-12
    x[:, :1] += 0.2 * random(256, 1, 40, 48, dtype=torch.float32)
    assert abs(sum(wavelet_noise(x)) / 256 / (0.1 / 3) - 1) < 0.05
    flat = torch.full((2, 3, 12, 12), 200 / 255)
    flat[1] = torch.rand(3, 12, 12, generator=torch.manual_seed(0))
    assert all(0 < s < 1 for s in diffprior.denoise(flat).report["sigma"])
