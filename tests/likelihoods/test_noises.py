"""Noise that is not Gaussian: what is drawn has the moments, and the density, that it claims."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from diffprior.likelihoods.base import Likelihood
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.likelihoods.noises import (
    LaplaceLikelihood,
    PoissonGaussianLikelihood,
    PoissonLikelihood,
    SaltPepperLikelihood,
    SpeckleLikelihood,
)
from diffprior.operators.identity import Identity
from diffprior.operators.mask import Mask
from diffprior.random import Noise

from support.exact import random
from support.operators import Blur

Make = Callable[..., Likelihood[Any]]

MODELS: dict[str, Make] = {
    "gaussian": lambda **at: GaussianLikelihood(sigma=0.1, **at),
    "poisson": lambda **at: PoissonLikelihood(peak=20, **at),
    "poisson gaussian": lambda **at: PoissonGaussianLikelihood(a=0.1, b=0.05, **at),
    "speckle": lambda **at: SpeckleLikelihood(sigma=0.2, **at),
    "laplace": lambda **at: LaplaceLikelihood(b=0.1, **at),
    "salt and pepper": lambda **at: SaltPepperLikelihood(rate=0.2, sigma=0.05, **at),
}
# mean and variance of y where A x = c
MOMENTS: dict[str, Callable[[float], tuple[float, float]]] = {
    "gaussian": lambda c: (c, 0.1**2),
    "poisson": lambda c: (c + 0.001, 4 / 20**2 * (20 * (c + 1) / 2 + 0.01)),
    "poisson gaussian": lambda c: (c, 0.1 * (c + 1) + 0.05**2),
    "speckle": lambda c: (c, (0.2 * (c + 1)) ** 2),
    "laplace": lambda c: (c, 2 * 0.1**2),
    "salt and pepper": lambda c: (0.8 * c, 0.05**2 + 0.2 + 0.8 * c**2 - (0.8 * c) ** 2),
}
every = pytest.mark.parametrize("name", MODELS)
VALUES = [-0.9, 0.1, 0.8]


def flat(value: float, count: int = 1) -> Tensor:
    return torch.full((count, 1), value, dtype=torch.float64)


@every
def test_what_is_drawn_has_the_mean_and_the_variance(name: str) -> None:
    """40,000 draws at each of three levels of light, to 4 standard errors."""
    x = torch.tensor(VALUES, dtype=torch.float64)[:, None].expand(3, 40_000)
    y = MODELS[name](operator=Identity().double()).sample(x, Noise(3, ids="abc"))
    for row, value in zip(y, VALUES, strict=True):
        mean, var = MOMENTS[name](value)
        square = (row - mean) ** 2
        assert abs(row.mean() - mean) < 4 * (var / len(row)) ** 0.5
        assert abs(square.mean() - var) < 4 * square.std() / len(row) ** 0.5


def support(name: str) -> tuple[Tensor, float]:
    """Return every y of note, ``(N, 1)``, and the width of each."""
    if name == "poisson":
        return 2 * torch.arange(200, dtype=torch.float64)[:, None] / 20 - 1, 1.0
    return torch.linspace(-6, 6, 60_001, dtype=torch.float64)[:, None], 12 / 60_000


@every
@pytest.mark.parametrize("value", VALUES)
def test_the_density_of_y_is_one_and_has_the_same_moments(name: str, value: float) -> None:
    """By quadrature; the Gaussian leaves out log(2 pi sigma^2) / 2, the others nothing."""
    y, width = support(name)
    p = MODELS[name](operator=Identity().double(), y=y).log_prob(flat(value, len(y))).exp() * width
    p = p / (2 * torch.pi * 0.1**2) ** 0.5 if name == "gaussian" else p
    mean, var = MOMENTS[name](value)
    total, first, second = p.sum(), p @ y[:, 0], p @ (y[:, 0] - mean) ** 2
    near = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(
        (total, first, second), (*map(total.new_tensor, (1, mean, var)),), **near
    )


def test_counts_have_the_probabilities_of_scipy() -> None:
    n = torch.arange(60, dtype=torch.float64)[:, None]
    likelihood = PoissonLikelihood(
        operator=Identity().double(), y=2 * n / 30 - 1, peak=30, dark=0.5
    )
    expected = torch.from_numpy(stats.poisson.logpmf(n[:, 0].numpy(), 30 * 0.7 + 0.5))
    torch.testing.assert_close(likelihood.log_prob(flat(0.4, 60)), expected)


@every
def test_the_score_is_the_gradient_by_differences(name: str) -> None:
    x, A = random(2, 1, 4, 4).tanh() * 0.9, Blur((1, 4, 4)).double()
    likelihood = MODELS[name](operator=A).measure(x, Noise(1, ids="ab"))
    state, h = random(2, 1, 4, 4, seed=1).tanh() * 0.9, 1e-5
    steps = h * torch.eye(16, dtype=torch.float64).reshape(16, 1, 1, 4, 4)
    slopes = [
        (likelihood.log_prob(state + e) - likelihood.log_prob(state - e)) / (2 * h) for e in steps
    ]
    score = likelihood.score(state).flatten(1)
    torch.testing.assert_close(score, torch.stack(slopes, 1), rtol=1e-5, atol=1e-5)


@every
def test_the_truth_is_likelier_than_its_neighbors_on_average(name: str) -> None:
    """E log p(y | x) is greatest at the x that drew y: to 2 standard errors of 40 rows of 100."""
    x = torch.full((40, 100), 0.3, dtype=torch.float64)
    likelihood = MODELS[name](operator=Identity().double()).measure(x, Noise(2, range(40)))
    here = likelihood.log_prob(x)
    for other in (0.25, 0.35):
        gain = here - likelihood.log_prob(torch.full_like(x, other))
        assert gain.mean() > 2 * gain.std() / 40**0.5


@every
def test_hidden_pixels_hold_nothing(name: str) -> None:
    keep = random(1, 4, 4) > 0
    x = random(2, 1, 4, 4, seed=1).tanh()
    likelihood = MODELS[name](operator=Mask(keep).double()).measure(x, Noise(0, ids="ab"))
    assert (likelihood.y[:, ~keep] == 0).all() and (likelihood.y[:, keep] != 0).all()
    dirty = MODELS[name](operator=likelihood.operator, y=likelihood.y + ~keep * 99.0)
    alone = MODELS[name](operator=Identity().double(), y=likelihood.y[:, keep])
    torch.testing.assert_close(dirty.log_prob(x), alone.log_prob(x[:, keep]))
    torch.testing.assert_close(dirty.score(x)[:, keep], alone.score(x[:, keep]))
    assert (dirty.score(x)[:, ~keep] == 0).all()


@every
def test_a_row_draws_what_it_draws_alone(name: str) -> None:
    x = random(3, 1, 4, 4).tanh()
    likelihood = MODELS[name](operator=Mask(random(3, 1, 4, 4, seed=4) > 0, batched=True).double())
    together = likelihood.measure(x, Noise(5, ids="abc"))
    one = likelihood.operator.select(torch.tensor([1]))
    alone = MODELS[name](operator=one).measure(x[1:2], Noise(5, ids="b"))
    assert torch.equal(together.y[1:2], alone.y)
    again = MODELS[name](operator=one).sample(x[1:2], Noise(6, ids="b"))
    assert not torch.equal(again, alone.y)
    assert torch.equal(together.select(torch.tensor([1])).log_prob(x[1:2]), alone.log_prob(x[1:2]))


@every
def test_states_blacker_than_black_are_finite(name: str) -> None:
    """Guesses of a sampler overshoot [-1, 1], also in float32."""
    x = torch.linspace(-3, 3, 25).reshape(1, 1, 5, 5)
    likelihood = MODELS[name](operator=Identity()).measure(x.clamp(-1, 1), Noise(0))
    assert likelihood.y.dtype == torch.float32
    assert likelihood.log_prob(x).isfinite().all() and likelihood.score(x).isfinite().all()


def test_poisson_is_its_gaussian_where_photons_are_many() -> None:
    """At 10^6 photons, both scores agree to a percent, and a = 2 / peak."""
    x, peak = random(1, 100).tanh() * 0.8, 1e6
    photons = PoissonLikelihood(operator=Identity().double(), peak=peak).measure(x, Noise(0))
    normal = PoissonGaussianLikelihood(
        operator=Identity().double(), y=photons.y, a=2 / peak, b=1e-6
    )
    state = x + 0.001
    ours, theirs = photons.score(state), normal.score(state)
    assert (ours - theirs).norm() < 0.01 * theirs.norm()


def test_the_score_of_an_outlier_fades() -> None:
    """A white speck on gray pulls less than a small misfit; without outliers it would pull 50x."""
    y = torch.tensor([[1.0, 0.02]], dtype=torch.float64)
    likelihood = SaltPepperLikelihood(operator=Identity().double(), y=y, rate=0.1, sigma=0.02)
    speck, misfit = likelihood.score(torch.zeros_like(y))[0]
    assert abs(speck) < 1e-6 < 40 < misfit


BAD = {
    "peak is a number above 0, got 0": lambda at: PoissonLikelihood(peak=0, **at),
    "dark is a number above 0, got -1": lambda at: PoissonLikelihood(peak=9, dark=-1, **at),
    "a is a number above 0, got nan": lambda at: PoissonGaussianLikelihood(
        a=float("nan"), b=1, **at
    ),
    "b is a number above 0, got 0": lambda at: PoissonGaussianLikelihood(a=1, b=0, **at),
    "b is a number above 0, got -2": lambda at: LaplaceLikelihood(b=-2, **at),
    "sigma is a number above 0, got 0": lambda at: SpeckleLikelihood(sigma=0, **at),
    "rate is a share of outliers below 1, got 1.5": lambda at: SaltPepperLikelihood(rate=1.5, **at),
}


@pytest.mark.parametrize("sentence", BAD)
def test_a_setting_that_is_none_is_refused(sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        BAD[sentence]({"operator": Identity()})
    assert str(error.value) == sentence
