"""Densities, scores and conditional means against dense linear algebra."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from diffprior.catalog import build
from diffprior.likelihoods.bits import FlipLikelihood
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.base import Operator
from diffprior.operators.identity import Identity
from diffprior.operators.mask import Mask
from diffprior.operators.matrix import Matrix
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise

from support.exact import random
from support.operators import Blur

SHAPE, D, B = (1, 4, 4), 16, 3
KEEP = torch.arange(16).reshape(1, 4, 4) % 3 > 0
OPERATORS = {
    "identity": lambda: Identity(),
    "mask": lambda: Mask(KEEP),
    "wide": lambda: Matrix(random(6, D), SHAPE),
    "tall": lambda: Matrix(random(20, D), SHAPE),
    "blur": lambda: Blur(SHAPE),  # no SVD: solved by CG
}
every = pytest.mark.parametrize("name", OPERATORS)
SVD = pytest.mark.parametrize("name", [name for name in OPERATORS if name != "blur"])


def problem(name: str, sigma: float = 0.3) -> tuple[GaussianLikelihood, Tensor, Tensor]:
    """Return a likelihood of three y, a batch of states, and A as a dense matrix ``(M, D)``."""
    A: Operator = OPERATORS[name]().double()
    x = random(B, *SHAPE)
    y = random(*A(x).shape, seed=1)
    dense = A(torch.eye(D, dtype=torch.float64).reshape(D, *SHAPE)).flatten(1).T
    return GaussianLikelihood(operator=A, y=y, sigma=sigma), x, dense


@every
def test_log_prob_is_the_normal_density_up_to_a_constant(name: str) -> None:
    likelihood, x, A = problem(name)
    seen = A.abs().sum(1) > 0  # a hidden pixel has no density
    r = (likelihood.y.flatten(1) - x.flatten(1) @ A.T)[:, seen]
    torch.testing.assert_close(likelihood.log_prob(x), -(r**2).sum(1) / (2 * 0.3**2))


@every
def test_score_is_the_gradient_and_leaves_no_trace(name: str) -> None:
    likelihood, x, A = problem(name)
    r = likelihood.y.flatten(1) - x.flatten(1) @ A.T
    with torch.no_grad():
        score = likelihood.score(x)
    torch.testing.assert_close(score.flatten(1), r @ A / 0.3**2)
    assert not x.requires_grad and x.grad is None and not score.requires_grad


@every
@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.3, 5.0])
@pytest.mark.parametrize("var", [1e-4, 1.0, 100.0])
def test_condition_is_the_exact_posterior_mean(name: str, sigma: float, var: float) -> None:
    """x_0 + var A' (var A A' + sigma^2)^+ (y - A x_0), also for exact data (CG stops at 1e-6)."""
    likelihood, x, A = problem(name, sigma)
    S = var * A @ A.T + sigma**2 * torch.eye(len(A), dtype=torch.float64)
    r = likelihood.y.flatten(1) - x.flatten(1) @ A.T
    gain = var * A.T @ torch.linalg.pinv(S, rtol=1e-12, hermitian=True)
    expected = x + (r @ gain.T).reshape(x.shape)
    near = 1e-3 if name == "blur" else 1e-8
    v = torch.tensor(var, dtype=torch.float64)
    torch.testing.assert_close(likelihood.condition(x, v), expected, rtol=near, atol=near)


def test_condition_on_exact_data_meets_them() -> None:
    for name in ("identity", "mask", "wide", "blur"):
        likelihood, x, _ = problem(name, 0.0)
        x = likelihood.condition(x, 0.5)
        assert likelihood.residual(x).abs().max() < (1e-4 if name == "blur" else 1e-10)


@SVD
@pytest.mark.parametrize("var", [0.0, 0.7])
def test_evidence_is_the_density_of_y_up_to_a_constant(name: str, var: float) -> None:
    likelihood, x, A = problem(name)
    A = A[A.abs().sum(1) > 0]
    y = likelihood.operator.mask_unmeasured(likelihood.y).flatten(1)
    y = y[:, KEEP.flatten()] if name == "mask" else y
    S = var * A @ A.T + 0.3**2 * torch.eye(len(A), dtype=torch.float64)
    other = random(B, *SHAPE, seed=9)

    def exact(x: Tensor) -> Tensor:
        return MultivariateNormal(x.flatten(1) @ A.T, S).log_prob(y)

    ours = likelihood.evidence(x, var) - likelihood.evidence(other, var)
    torch.testing.assert_close(ours, exact(x) - exact(other))


@pytest.mark.parametrize("hidden", [0.0, 1.0, 50.0])
def test_chi2_of_the_truth_is_one_whatever_the_hidden_pixels_hold(hidden: float) -> None:
    """Some data sets carry noise, or worse, in the masked pixels: they are no measurements."""
    x, keep = random(400, 1, 8, 8), random(1, 8, 8, seed=1) > -0.5
    noise = random(400, 1, 8, 8, seed=2)
    y = keep * (x + 0.2 * noise) + ~keep * hidden * noise
    chi2 = GaussianLikelihood(operator=Mask(keep).double(), y=y, sigma=0.2).chi2(x)
    m = int(keep.sum())
    assert abs(chi2.mean() - 1) < 4 * (2 / m / 400) ** 0.5
    assert abs(chi2.std() - (2 / m) ** 0.5) < 4 * (2 / m) ** 0.5 / 800**0.5 * 1.2


def test_hidden_pixels_move_nothing_else() -> None:
    y, x = random(B, *SHAPE), random(B, *SHAPE, seed=1)
    clean = GaussianLikelihood(operator=Mask(KEEP).double(), y=KEEP * y, sigma=0.2)
    dirty = dataclasses.replace(clean, y=KEEP * y + ~KEEP * 9.0)
    for f in ("log_prob", "score", "residual", "chi2"):
        assert torch.equal(getattr(clean, f)(x), getattr(dirty, f)(x))
    assert torch.equal(clean.condition(x, 0.5), dirty.condition(x, 0.5))
    assert torch.equal(clean.evidence(x, 0.5), dirty.evidence(x, 0.5))


@pytest.mark.parametrize("sigma", [-0.1, float("nan")])
def test_a_sigma_that_is_none_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="^sigma is a standard deviation from 0 on, got"):
        GaussianLikelihood(operator=Identity(), y=torch.zeros(1, 2), sigma=sigma)


def test_exact_data_have_no_density() -> None:
    likelihood, x, _ = problem("mask", 0.0)
    for f in (likelihood.log_prob, likelihood.score):
        with pytest.raises(ValueError, match=r"^exact data \(sigma = 0\) has no density"):
            f(x)


def test_rows_do_not_meet() -> None:
    """Each row's answer is the one it has alone, beside a far neighbor as well."""
    for name in OPERATORS:
        likelihood, x, _ = problem(name)
        far = dataclasses.replace(
            likelihood,
            y=likelihood.y * torch.tensor([1, 1e4, 1e-4])[:, None]
            if likelihood.y.ndim == 2
            else likelihood.y * torch.tensor([1, 1e4, 1e-4])[:, None, None, None],
        )
        one = far.select(torch.tensor([0]))
        for f in (
            lambda r, x: r.log_prob(x),
            lambda r, x: r.score(x),
            lambda r, x: r.condition(x, 0.5),
        ):
            torch.testing.assert_close(f(far, x)[:1], f(one, x[:1]), rtol=1e-10, atol=1e-10)


def test_take_allows_repeats_and_takes_the_masks_along() -> None:
    masks = random(B, *SHAPE, seed=3) > 0
    likelihood = GaussianLikelihood(
        operator=Mask(masks, batched=True).double(), y=random(B, *SHAPE, seed=1), sigma=0.2
    )
    x, index = random(B, *SHAPE), torch.tensor([2, 2, 0])
    expected = likelihood.log_prob(x)[index]
    torch.testing.assert_close(likelihood.select(index).log_prob(x[index]), expected)


def test_behind_a_decoder_is_the_chain_rule() -> None:
    likelihood, _, A = problem("wide")
    W, z = random(D, 5, seed=8), random(B, 5)
    latent = likelihood.through(lambda z: (z @ W.T).reshape(-1, *SHAPE))
    x = z @ W.T
    torch.testing.assert_close(latent.log_prob(z), likelihood.log_prob(x.reshape(-1, *SHAPE)))
    torch.testing.assert_close(latent.score(z), (likelihood.y - x @ A.T) @ A @ W / 0.3**2)
    assert latent.sigma == 0.3 and torch.equal(latent.y, likelihood.y)


def test_flips_by_counting() -> None:
    """log p(y | bits) = agreements log(1 - rate) + disagreements log(rate), over seen bits."""
    keep = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    y = torch.tensor([[1.0, 0.0, 1.0, 0.5, 0.5]], dtype=torch.float64)
    likelihood = FlipLikelihood(operator=Mask(keep).double(), y=y, rate=0.2)
    bits = (random(32, 5) > 0).double()
    agree = (bits == y)[:, :3].sum(1)
    exact = (
        agree * torch.tensor(0.8).double().log() + (3 - agree) * torch.tensor(0.2).double().log()
    )
    ours = likelihood.log_prob(bits)
    torch.testing.assert_close(ours - ours[0], exact - exact[0], rtol=0, atol=1e-5)
    gain = torch.tensor([1.0, -1.0, 1.0, 0.0, 0.0], dtype=torch.float64) * torch.tensor(4.0).log()
    torch.testing.assert_close(likelihood.score(bits), gain.expand(32, 5), rtol=0, atol=1e-5)


def test_flipped_bits_are_flipped_at_their_rate_and_hidden_ones_are_halves() -> None:
    keep, bits = torch.tensor([1.0, 0.0]).repeat(10_000), (random(1, 20_000) > 0).double()
    y = FlipLikelihood(operator=Mask(keep).double(), rate=0.2).sample(bits, Noise(0))
    assert (y[:, 1::2] == 0.5).all() and ((y == 0) | (y == 1))[:, ::2].all()
    flipped = (y != bits)[:, ::2].double().mean()
    assert abs(flipped - 0.2) < 4 * (0.2 * 0.8 / 10_000) ** 0.5


@every
def test_measure_draws_the_data_that_a_likelihood_explains(name: str) -> None:
    """The same numbers for the same seed, chi2 of 1 to 4 standard errors, and exact at sigma 0."""
    likelihood, _, A = problem(name)
    x, names = random(500, *SHAPE), range(500)
    drawn = dataclasses.replace(likelihood, y=torch.empty(0)).measure(x, Noise(7, names))
    assert torch.equal(drawn.y, likelihood.sample(x, Noise(7, names)))
    m = int((A.abs().sum(1) > 0).sum())
    assert abs(drawn.chi2(x).mean() - 1) < 4 * (2 / m / 500) ** 0.5
    exact = GaussianLikelihood(operator=likelihood.operator).measure(x, Noise(7, names))
    torch.testing.assert_close(exact.y.flatten(1), x.flatten(1) @ A.T)


def test_a_method_asks_for_a_measurement_that_was_never_made(gaussian: MixturePrior) -> None:
    likelihood = GaussianLikelihood(operator=Matrix(random(2, 4)), sigma=0.3)
    with pytest.raises(ValueError, match=r"^a measurement of this operator has shape \(2,\), got"):
        build("dps")(gaussian, likelihood)


@pytest.mark.parametrize("sigma", [1e-30, 1e-300])
def test_chi2_is_a_number_at_any_sigma(sigma: float) -> None:
    x, y = torch.zeros(1, 4), torch.ones(1, 4)
    chi2 = GaussianLikelihood(operator=Identity(), y=y, sigma=sigma).chi2(x)
    assert chi2.isfinite().all() and chi2 > 1e10


def test_chi2_of_no_data_is_zero() -> None:
    y = torch.ones(2, 4)
    likelihood = GaussianLikelihood(operator=Mask(torch.zeros(4)), y=y, sigma=0.1)
    assert torch.equal(likelihood.chi2(torch.zeros(2, 4)), torch.zeros(2))
