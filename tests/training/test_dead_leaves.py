"""Dead leaves, against the law that they are drawn from."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest

from diffprior.errors import SettingError
from diffprior.training.dead_leaves import DeadLeaves

LEAVES = DeadLeaves(smallest=1.5, largest=6.0)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return LEAVES.draw(500, 16, np.random.default_rng(0))


def test_radii_are_of_the_power_law() -> None:
    """The distribution function of a density c r^-3 between the bounds."""
    r = LEAVES.radii(20_000, np.random.default_rng(0))
    whole = 1.5**-2 - 6.0**-2
    assert kstest(r, lambda x: (1.5**-2 - x**-2) / whole).pvalue > 0.01
    assert kstest(r, lambda x: (1.5**-1 - x**-1) / (1.5**-1 - 6.0**-1)).pvalue < 1e-9


@pytest.mark.parametrize("distance", [0.5, 1.0, 3.0, 4.0, 11.0, 12.0, 20.0])
def test_the_shared_area_is_its_integral(distance: float) -> None:
    def lens(r: float, d: float) -> float:
        """Area of two discs of radius r, d apart, that both have."""
        if d >= 2 * r:
            return 0.0
        return 2 * r**2 * math.acos(d / 2 / r) - d / 2 * math.sqrt(4 * r**2 - d**2)

    def mean(d: float) -> float:
        low = min(max(1.5, d / 2), 6.0)
        return quad(lambda r: r**-3 * lens(r, d), low, 6.0, epsabs=1e-12)[0]

    known = mean(distance) / (2 * mean(0.0) - mean(distance))
    assert LEAVES.same_leaf(distance) == pytest.approx(known, abs=1e-6)
    assert LEAVES.same_leaf(0.0) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("step", [(0, 1), (1, 0), (1, 1), (3, 4), (0, 9)])
def test_pixels_share_a_leaf_as_often_as_the_law_says(
    images: np.ndarray, step: tuple[int, int]
) -> None:
    """To four standard errors over the images; equal values are of one leaf."""
    i, j = step
    same = images[:, i:, j:] == images[:, : 16 - i, : 16 - j]
    shares = same.mean((1, 2))
    error = shares.std(ddof=1) / len(shares) ** 0.5
    assert abs(shares.mean() - LEAVES.same_leaf(math.hypot(i, j))) < 4 * error < 0.04


def test_grays_are_uniform_and_as_correlated_as_leaves_are_shared(images: np.ndarray) -> None:
    assert kstest(images[:, 0, 0], "uniform").pvalue > 0.01
    centered = images - 0.5
    for d in (1, 4):
        products = (centered[:, :, d:] * centered[:, :, :-d]).mean((1, 2)) * 12
        error = products.std(ddof=1) / len(products) ** 0.5
        assert abs(products.mean() - LEAVES.same_leaf(float(d))) < 4 * error < 0.15


def test_the_same_generator_draws_the_same_images() -> None:
    pairs = [LEAVES.draw(2, 8, np.random.default_rng(3)) for _ in range(2)]
    assert np.array_equal(*pairs) and not np.array_equal(*pairs[0])


def test_bounds_that_cross_are_one_sentence() -> None:
    with pytest.raises(SettingError, match="smallest is below largest, got 4.0 and 2.0"):
        DeadLeaves(smallest=4.0, largest=2.0)
