"""Which images are gray, which have one tone, and that their noise counts once."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import diffprior
from diffprior.io import files
from diffprior.io.arrays import as_images
from diffprior.priors.gray import GrayPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.runtime.gray import gray_images, tones
from diffprior.runtime.noise_level import noise_level

from support.exact import random

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
V = 0.03


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    """A gray photograph ``(1, 96, 96)`` in [0, 1]."""
    x = files.read(SAMPLES / "dog.png").images.tensor()[0, :, 110:206, 240:336]
    return (x.mean(0, keepdim=True) + 1) / 2


def ramp(side: int = 64) -> torch.Tensor:
    """Grays from 0.2 to 0.7, ``(1, H, W)``."""
    return torch.linspace(0.2, 0.7, side).expand(1, side, side)


def test_an_image_is_gray_where_it_says_something() -> None:
    x = ramp().repeat(3, 1, 1)
    x[0, 3, 5] += 1e-3
    lost = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    assert gray_images(as_images(x)) == [False]
    lost[0, 0, 3, 5] = True
    assert gray_images(as_images(x), lost) == [True]
    clear = torch.cat([x, torch.ones(1, 64, 64)])
    clear[3, 3, 5] = 0
    assert gray_images(as_images(clear)) == [True]
    assert gray_images(as_images(np.zeros((2, 3), np.uint16))) == [True]


def test_the_colors_of_one_tone_are_found_again() -> None:
    """A curve, with one channel that is clipped, to the width of a bin."""
    g = ramp()
    x = torch.cat([(1.6 * g).clamp_max(1), g, 0.5 * g])
    (tone,) = tones(as_images(x))
    assert tone is not None
    gray = 2 * x.mean(0)[None, None] - 1
    torch.testing.assert_close(tone.color(gray)[0], 2 * x - 1, rtol=0, atol=1e-6)  # with the rest
    assert tone.rest.abs().max() < 2 / 127.5
    assert tone.color(gray[..., :32, :32]).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(("along", "beside", "toned"), [(0.1, 0.01, True), (0.1, 0.1, False)])
def test_noise_along_a_tone_is_told_from_noise_in_all_directions(
    along: float, beside: float, toned: bool
) -> None:
    tint = torch.tensor([1.2, 1.0, 0.7])[:, None, None]
    noise = along * random(1, 64, 64, seed=1) + beside * random(3, 64, 64, seed=2)
    x = ((ramp() + noise) * tint).clamp(0, 1).float()
    assert (tones(as_images(x))[0] is not None) == toned


def test_few_pixels_show_no_tone() -> None:
    assert tones(as_images(torch.rand(3, 31, 33))) == [None]


def test_noise_of_gray_is_the_most_likely_one() -> None:
    """Of y ~ N(0, V / 3 + sigma^2): (mean y^2 - V / 3)^(1/2), and in [0, 1] half of that."""
    one = torch.ones(1, dtype=torch.float64)
    colors = MixturePrior(one, torch.zeros(1, 3, 24, 24, dtype=torch.float64), V * one)
    y = math.sqrt(V / 3 + 0.09) * random(1, 1, 24, 24, seed=1)
    best = (y.square().mean() - V / 3).sqrt()
    assert abs(noise_level(GrayPrior(colors), y, 0.3, rounds=200) - best / 2) < 1e-3


def test_chi2_is_over_one_channel_and_the_posterior_is_exact() -> None:
    """The mean is V / 3 y / (V / 3 + sigma^2) in all channels, of samples, too, nearly."""
    one = torch.ones(1)
    prior = MixturePrior(one, torch.zeros(1, 3, 40, 40), V * one)
    sigma = 0.1  # in [-1, 1]
    y = (math.sqrt(V / 3 + sigma**2) * random(1, 40, 40, seed=2)).float()
    image = ((y + 1) / 2).expand(3, -1, -1)
    out = diffprior.denoise(image, sigma=sigma / 2, prior=prior)
    mean = V / 3 / (V / 3 + sigma**2) * y
    torch.testing.assert_close(2 * out.image - 1, mean.expand(3, -1, -1), rtol=0, atol=1e-5)
    expected = float((y - mean).square().mean()) / sigma**2
    assert out.report["chi2"][0] == pytest.approx(expected, rel=1e-2)
    drawn = diffprior.denoise(
        image, sigma=sigma / 2, prior=prior, samples=2, method="mmps(sampler=dpm(steps=60))"
    )
    assert drawn.report["chi2"][0] == pytest.approx(1, abs=0.06)


def test_noise_of_three_channels_is_no_gray_noise(photo: torch.Tensor) -> None:
    """A gray scene whose noise differs by channel is cleaned in color: three measurements."""
    y = (photo + 0.1 * random(3, 96, 96, dtype=torch.float32)).clamp(0, 1)
    out = diffprior.denoise(y)
    assert out.report["sigma"] == pytest.approx([0.1], rel=0.1)
    alone = diffprior.denoise(y[:1])
    error, of_one = ((x - photo).square().mean().sqrt() for x in (out.image, alone.image))
    assert 1.1 * error < of_one


def test_tasks_that_make_colors_make_them(photo: torch.Tensor) -> None:
    hole = torch.zeros(1, 96, 96)
    hole[:, 40:44] = 1
    results = (
        diffprior.colorize(photo, steps=3),
        diffprior.restore(photo, hole, gray=True, steps=3),
    )
    for out in results:
        assert len(out.image) == 3
        assert (out.image[0] - out.image[2]).abs().mean() > 1e-3
