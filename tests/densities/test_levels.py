"""The odds of the 256 levels, against scipy's normal distribution."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from diffprior.densities.levels import (
    LEVELS,
    WIDTH,
    bits_per_dimension,
    dequantize,
    level_log_prob,
    to_levels,
)
from diffprior.random import Noise

from support.exact import random

ALL = torch.linspace(-1, 1, LEVELS, dtype=torch.float64)


@pytest.mark.parametrize("mean", [-1.3, -0.999, 0.1234, 1.0])
@pytest.mark.parametrize("scale", [1e-3, 0.05, 2.0])
def test_the_levels_sum_to_one(mean: float, scale: float) -> None:
    means = torch.full((LEVELS, 1), mean, dtype=torch.float64)
    log_p = level_log_prob(ALL[:, None], means, torch.tensor(scale))
    assert abs(log_p.exp().sum().item() - 1) < 1e-12
    assert log_p.isfinite().all()


def test_a_level_has_the_mass_between_its_edges() -> None:
    x = ALL[[0, 1, 100, 254, 255]]
    mean, scale = 0.05 * random(5), 0.4
    log_p = level_log_prob(x[:, None], mean[:, None], torch.tensor(scale, dtype=torch.float64))
    edges = x[:, None].numpy() + WIDTH / 2 * np.array([-1, 1])
    edges[0, 0], edges[-1, 1] = -np.inf, np.inf
    expected = np.diff(norm.cdf(edges, mean[:, None].numpy(), scale))[:, 0]
    np.testing.assert_allclose(log_p.exp().numpy(), expected, rtol=1e-11)


def test_far_tails_keep_their_digits() -> None:
    """A difference of two probabilities that round to 1 would be 0, and its logarithm infinite."""
    log_p = level_log_prob(ALL[[10, 245]][None], torch.tensor([[0.9, -0.9]]), torch.tensor(0.01))
    edges = ALL[10].item() + WIDTH / 2
    near = norm.logcdf(edges, np.float32(0.9), np.float32(0.01))
    np.testing.assert_allclose(log_p.item(), 2 * near, rtol=1e-4)


def test_uniform_noise_stays_inside_the_level_and_prices_it_no_lower() -> None:
    """E[log p(x + u)] + log WIDTH <= log P(x), by Jensen; for a narrow level almost equal."""
    x = ALL[[120]].repeat(4000, 1)
    y = dequantize(x, Noise(0, range(4000)))
    assert torch.equal(to_levels(y), x) and abs((y - x).std().item() * 12**0.5 / WIDTH - 1) < 0.05
    for scale, gap in ((0.4, 1e-4), (0.004, 0.1)):
        s = torch.tensor(scale, dtype=torch.float64)
        exact = level_log_prob(x[:1], x[:1] + 0.003, s).item()
        bound = torch.from_numpy(norm.logpdf(y.numpy(), x.numpy() + 0.003, scale)).mean().item()
        assert -1e-4 < exact - bound - math.log(WIDTH) < gap


def test_a_flat_density_costs_eight_bits() -> None:
    nats = torch.tensor([10 * math.log(256)])
    assert bits_per_dimension(nats, 10).item() == pytest.approx(8)


def test_rows_do_not_meet() -> None:
    x, mean = to_levels(0.5 * random(3, 7)), 0.1 * random(3, 7, seed=1)
    whole = level_log_prob(x, mean, torch.tensor(0.02))
    alone = [level_log_prob(x[i : i + 1], mean[i : i + 1], torch.tensor(0.02)) for i in range(3)]
    assert torch.equal(whole, torch.cat(alone))
