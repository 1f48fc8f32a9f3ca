"""Variations: draws of the prior again, as near to the image as was asked."""

import math

import pytest
import torch

import diffprior
from diffprior.catalog import SettingError
from diffprior.priors.mixture import MixturePrior

from support.exact import random

SHAPE = (3, 16, 16)
COUNT = 24


@pytest.fixture(scope="module")
def gaussian() -> MixturePrior:
    """Independent pixels about gray, of deviations from 0.05 to 0.3."""
    deviations = 0.05 + 0.25 * torch.rand(768, generator=torch.Generator().manual_seed(1)).double()
    return MixturePrior(
        torch.ones(1).double(), torch.zeros(1, *SHAPE).double(), deviations[None] ** 2
    )


@pytest.fixture(scope="module")
def image(gaussian: MixturePrior) -> torch.Tensor:
    """A draw of the prior, in [0, 1]."""
    return (gaussian.sample(diffprior.random.Noise(9, [0], 1))[0] + 1) / 2


def varied(image: torch.Tensor, prior: MixturePrior, strength: float, **more) -> torch.Tensor:
    """Return samples (n, D) in units of the prior's deviations."""
    more = {"samples": COUNT, "steps": 40} | more
    out = diffprior.variations(image, strength=strength, prior=prior, **more)
    x = 2 * torch.stack(out.samples).double().flatten(1) - 1
    return x / prior.eigvals[0].sqrt()


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.7, 1.0])
def test_a_variation_of_a_draw_is_a_draw_of_known_correlation(gaussian, image, strength) -> None:
    """x' = cos(a) x + sin(a) eps in units of the deviations, so that |x'|^2 is chi-squared."""
    x = varied(image, gaussian, strength)
    whole = (2 * image.double().flatten() - 1) / gaussian.eigvals[0].sqrt()
    cos, n = math.cos(strength * math.pi / 2), x.numel()
    rest = x - cos * whole
    assert abs(float((rest * whole).mean())) < 4 * math.sqrt((1 - cos**2) / n) + 5e-3
    spread = float(rest.square().mean())
    assert abs(spread - (1 - cos**2)) < 4 * (1 - cos**2) * math.sqrt(2 / n) + 1e-2


def test_more_strength_is_further_away_and_the_samples_differ(gaussian, image) -> None:
    whole = (2 * image.double().flatten() - 1) / gaussian.eigvals[0].sqrt()
    strengths = (0.02, 0.1, 0.3, 0.6)
    away, apart = [], []
    for strength in strengths:
        x = varied(image, gaussian, strength, samples=4)
        away.append(float((x - whole).square().mean()))
        apart.append(float(torch.pdist(x).min()))
    assert away == sorted(away) and apart == sorted(apart)
    assert away[0] < 0.01 and away[-1] > 0.5 and apart[0] > 0


def test_a_photograph_keeps_its_layout() -> None:
    """On the shipped prior: the image is found in its variations, and in no other image."""
    blobs = torch.nn.functional.interpolate(
        random(2, 3, 6, 6, seed=4).float(), (64, 64), mode="bicubic"
    )
    one, other = (0.5 + 0.15 * blobs).clamp(0, 1)
    out = diffprior.variations(one, samples=2, steps=8, strength=0.1)
    for x in out.samples:
        assert (x - one).square().mean() < 0.2 * (x - other).square().mean()
    assert (out.samples[0] - out.samples[1]).abs().mean() > 1 / 255
    assert out.report["network_calls"] == 8 + 2 * 8 and "guidance" not in out.report


def test_a_batch_is_its_images(gaussian: MixturePrior) -> None:
    batch = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    settings = {"prior": gaussian, "samples": 2, "steps": 5, "dtype": "float32"}
    both = diffprior.variations(batch, ids=["a", "b"], **settings)
    for i, name in enumerate("ab"):
        alone = diffprior.variations(batch[i], ids=[name], **settings)
        for k in range(2):
            assert torch.equal(both.samples[k][i], alone.samples[k])


@pytest.mark.parametrize("strength", [0.0, 1.2])
def test_strength_outside_is_one_sentence(gaussian, image, strength: float) -> None:
    with pytest.raises(SettingError, match=r"^strength lies in \(0, 1\], got"):
        diffprior.variations(image, strength=strength, prior=gaussian)
