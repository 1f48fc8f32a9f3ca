"""The discrepancy principle, where the residual of every weight can be computed."""

import pytest
import torch

from diffprior.catalog import build
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.matrix import Matrix
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise

from support.exact import random

D = 16


@pytest.fixture(scope="module")
def likelihood() -> GaussianLikelihood[Matrix]:
    A = Matrix(random(12, D, seed=1) / 4)
    x = random(3, D, seed=2)
    return GaussianLikelihood(operator=A, sigma=0.5).measure(x, Noise(0, [0, 1, 2]))


@pytest.fixture(scope="module")
def prior() -> MixturePrior:
    one = torch.ones(1, dtype=torch.float64)
    return MixturePrior(one, torch.zeros(1, D, dtype=torch.float64), one)


@pytest.mark.parametrize("weight", [0.02, 20.0])
@pytest.mark.parametrize("method", ["dpir(steps=8, weight={})", "diffpir(weight={})"])
def test_the_residual_is_that_of_the_noise(prior, likelihood, method: str, weight: float) -> None:
    """From a weight that is 20 times too large or small, chi2 of every image comes to 1."""
    text = method.format(weight)
    before = likelihood.chi2(build(text)(prior, likelihood)[:, 0])
    after = likelihood.chi2(
        build(f"discrepancy(method={text}, rounds=10)")(prior, likelihood)[:, 0]
    )
    assert ((before - 1).abs() > 0.3).all() and ((after - 1).abs() < 0.1).all()


def test_each_image_and_each_sample_has_a_weight_of_its_own(prior, likelihood) -> None:
    method = build("discrepancy(method=diffpir(sampler=ddim(steps=8, eta=1.0)), rounds=4)")
    batch = method(prior, likelihood, n=2, seed=3)
    alone = method(prior, likelihood.select(torch.tensor([1])), n=2, seed=3)
    torch.testing.assert_close(batch[1], alone, rtol=1e-6, atol=1e-6)
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("discrepancy(setting='wait')", "has no setting 'wait' that is a number"),
        ("discrepancy(rounds=2)", "looks at 3 values or more"),
    ],
)
def test_what_cannot_be_tuned_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(text)


def test_exact_data_are_refused(prior) -> None:
    exact = GaussianLikelihood(operator=Matrix(torch.eye(D).double()), y=torch.zeros(D).double())
    with pytest.raises(ValueError, match="needs noise"):
        build("discrepancy")(prior, exact)
