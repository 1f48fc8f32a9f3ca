"""Bits per dimension of images: of a prior that is known exactly, beside PNG and WebP."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from PIL import Image
from scipy.stats import norm

from diffprior.densities.levels import WIDTH, level_log_prob
from diffprior.diffusions import GaussianDiffusion
from diffprior.errors import ImageError, SettingError, UnsuitedError
from diffprior.evaluation.fit import FitSettings, measure_fit, measure_levels
from diffprior.io.arrays import as_images
from diffprior.priors.mixture import MixturePrior
from diffprior.schedules import EDM

from support.exact import random

SHAPE = (1, 12, 12)
STD = 0.3
SIGMA_MIN = 2e-3
QUICK = FitSettings(draws=8, levels=30)


@pytest.fixture(scope="module")
def white() -> MixturePrior:
    """Gray images whose pixels are independent Gaussians."""
    one = torch.ones(1, dtype=torch.float64)
    means = torch.full((1, *SHAPE), 0.1, dtype=torch.float64)
    schedule = EDM(sigma_min=SIGMA_MIN, sigma_max=80)
    return MixturePrior(one, means, STD**2 * one, GaussianDiffusion(schedule))


def pixels() -> np.ndarray:
    x = 0.1 + STD * random(12, 12).numpy()
    return np.clip(np.rint(127.5 * (x + 1)), 0, 255).astype(np.uint8)


def prices(values: np.ndarray) -> dict[str, float]:
    """Return what white noise costs, in bits per dimension, by sums in place of draws."""
    x = (values / 127.5 - 1)[..., None]
    std, sigma = math.hypot(STD, SIGMA_MIN), SIGMA_MIN
    nodes, weights = hermegauss(20)
    z = x + sigma * nodes
    mean = 0.1 + (z - 0.1) * (STD / std) ** 2
    edges = x + WIDTH / 2 * np.array([-1, 1])[:, None, None, None]
    decoded = np.log(np.diff(norm.cdf(edges, mean, sigma), axis=0)[0])
    terms = norm.logpdf(z, x, sigma) - norm.logpdf(z, 0.1, std) - decoded
    variational = (terms * weights).sum(-1).mean() / math.sqrt(2 * math.pi)
    inside = x + WIDTH * (np.arange(50) + 0.5) / 50 - WIDTH / 2
    uniform = -norm.logpdf(inside, 0.1, std).mean() - math.log(WIDTH)
    exact = -np.log(np.diff(norm.cdf(edges[..., 0], 0.1, STD), axis=0)).mean()
    nats = {"variational": variational, "uniform": uniform, "exact": exact}
    return {name: float(value) / math.log(2) for name, value in nats.items()}


@pytest.mark.parametrize(
    ("settings", "price"),
    [
        (QUICK, "variational"),
        (replace(QUICK, by="flow", draws=3), "uniform"),
        (replace(QUICK, by="flow", draws=3, dequantization="variational"), "variational"),
    ],
    ids=["bound", "uniform", "variational"],
)
def test_the_price_of_white_noise(white: MixturePrior, settings: FitSettings, price: str) -> None:
    """The limit of the bound is that of the flow with the same noise and decoder."""
    expected = prices(pixels())
    fit = measure_fit(white, as_images(pixels()), settings)
    assert fit.standard_error is not None and fit.standard_error < 0.06
    assert abs(fit.bits - expected[price]) < 0.005 + 4 * fit.standard_error
    assert expected["exact"] < expected["uniform"] < expected["exact"] + 0.001
    assert expected["exact"] < expected["variational"] < expected["exact"] + 0.25
    assert fit.channels == 1 and len(fit.windows) == 1


def test_png_and_webp_are_those_of_pillow(white: MixturePrior, tmp_path) -> None:  # noqa: ANN001
    values = pixels()
    fit = measure_fit(white, as_images(values), replace(QUICK, draws=1, levels=2))
    Image.fromarray(values).save(tmp_path / "a.png", optimize=True)
    assert fit.png == 8 * (tmp_path / "a.png").stat().st_size / 144
    Image.fromarray(values).save(tmp_path / "a.webp", lossless=True, quality=100, method=6)
    assert fit.webp == 8 * (tmp_path / "a.webp").stat().st_size / 144
    assert fit.standard_error is None


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [(6, 14)]), (4, [(0, 4), (0, 24), (12, 4), (12, 24)]), (0, None)],
    ids=["one", "four", "all"],
)
def test_the_parts_are_spread_and_do_not_overlap(
    white: MixturePrior, count: int, expected: list[tuple[int, int]] | None
) -> None:
    image = as_images(np.tile(pixels(), (2, 4))[:, :40])  # 24 x 40, parts of 12 x 12
    fit = measure_fit(white, image, FitSettings(windows=count, draws=1, levels=2))
    corners = [(w.top, w.left) for w in fit.windows]
    assert expected is None or corners == expected
    covered = np.zeros((24, 40), int)
    for w in fit.windows:
        covered[w.top : w.top + w.height, w.left : w.left + w.width] += 1
    assert covered.max() == 1 and covered.sum() == 144 * (6 if count == 0 else count)


def test_a_batch_is_its_rows(white: MixturePrior) -> None:
    x = torch.from_numpy(pixels()).float()[None, None] * WIDTH - 1
    batch = torch.cat([x, x.flip(-1), 0 * x])
    settings = FitSettings(draws=2, levels=3)
    whole = measure_levels(white, batch, settings, ["a", "b", "c"])
    alone = measure_levels(white, batch[1:2], settings, ["b"])
    torch.testing.assert_close(whole[2:4], alone, rtol=1e-12, atol=0)


def test_what_cannot_be_measured_is_said(white: MixturePrior) -> None:
    with pytest.raises(ImageError, match="12 x 12 pixels, and the image has 11 x 9"):
        measure_fit(white, as_images(np.zeros((9, 11), np.uint8)))
    points = MixturePrior(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    with pytest.raises(UnsuitedError, match="are those of pixels"):
        measure_fit(points, as_images(np.zeros((9, 11), np.uint8)))
    with pytest.raises(SettingError, match="by of FitSettings is one of"):
        FitSettings(by="png")  # type: ignore[arg-type]


def test_a_level_costs_what_its_odds_say() -> None:
    """Guards the unit: 8 bits for each of 256 levels that are as likely."""
    flat = level_log_prob(torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor(50.0))
    assert -flat.item() / 4 / math.log(2) == pytest.approx(
        math.log2(50 * math.sqrt(2 * math.pi) / WIDTH), abs=1e-3
    )
