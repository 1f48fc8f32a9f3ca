"""A kernel's density, draws and tilt against closed forms."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from diffprior.errors import UnsuitedError
from diffprior.kernels import BernoulliKernel, GaussianKernel
from diffprior.random import Noise

from support.exact import deviations, random

N = 20_000


def test_gaussian_log_prob_is_torchs() -> None:
    loc, x = random(5, 2, 3), random(5, 2, 3, seed=1)
    for var in (torch.tensor(0.3, dtype=torch.float64), random(5, 2, 3, seed=2).exp()):
        expected = Normal(loc, var.sqrt()).log_prob(x).sum((1, 2))
        torch.testing.assert_close(GaussianKernel(loc, var).log_prob(x), expected)


def test_bernoulli_log_prob_is_torchs() -> None:
    logits, bits = 3 * random(5, 2, 3), (random(5, 2, 3, seed=1) > 0).double()
    expected = Bernoulli(logits=logits).log_prob(bits).sum((1, 2))
    torch.testing.assert_close(BernoulliKernel(logits).log_prob(bits), expected)


def test_gaussian_tilt_is_the_product_with_an_exponential() -> None:
    """N(x; loc, var) exp(g x) is N(x; loc + var g, var) times a constant."""
    loc, g, x = random(1, 4), random(1, 4, seed=1), random(9, 4, seed=2)
    kernel = GaussianKernel(loc, torch.tensor(0.3, dtype=torch.float64))
    ratio = kernel.tilt(g).log_prob(x) - kernel.log_prob(x) - (g * x).sum(1)
    torch.testing.assert_close(ratio, ratio[:1].expand(9))
    torch.testing.assert_close(kernel.tilt(g).mean, loc + 0.3 * g)


def test_bernoulli_tilt_is_the_product_of_two_bernoullis() -> None:
    c, d = random(1, 5).sigmoid(), random(1, 5, seed=1).sigmoid()
    tilted = BernoulliKernel(c.logit()).tilt(d.logit()).mean
    torch.testing.assert_close(tilted, c * d / (c * d + (1 - c) * (1 - d)))


def test_the_perturbed_bits_are_those_of_all_states() -> None:
    """Four bits with r(x) a product: p r over all 16 states, and not "x d" in place of "c d"."""
    c, d = random(4).sigmoid(), random(4, seed=1).sigmoid()
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 4)
    p, r = ((states * a + (1 - states) * (1 - a)).prod(1) for a in (c, d))
    kernel = BernoulliKernel(c.logit()[None]).tilt(d.logit()[None])
    torch.testing.assert_close(kernel.log_prob(states).exp(), p * r / (p * r).sum())
    for x in (0.0, 1.0):  # the form with the state itself is no distribution of it
        wrong = c * d / (x * d + (1 - c) * (1 - d))
        assert ((wrong - kernel.mean[0]).abs() > 0.01).all()


@pytest.mark.parametrize("shape", [(), (3,), (N, 3)], ids=str)
def test_gaussian_draws(shape: tuple[int, ...]) -> None:
    loc = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    var = torch.full(shape, 0.49, dtype=torch.float64)
    kernel = GaussianKernel(loc.expand(N, 3), var)
    x = kernel.sample(Noise(0, range(N)))
    assert deviations(x, loc, 0.49 * torch.eye(3, dtype=torch.float64)) < 4
    assert torch.equal(kernel.mean, kernel.loc)


def test_bernoulli_draws() -> None:
    p = torch.tensor([0.02, 0.5, 0.9], dtype=torch.float64)
    x = BernoulliKernel(p.logit().expand(N, 3)).sample(Noise(0, range(N)))
    assert set(x.unique().tolist()) == {0.0, 1.0} and x.dtype == torch.float64
    assert ((x.mean(0) - p).abs() < 4 * (p * (1 - p) / N).sqrt()).all()


def test_no_variance_draws_the_mean() -> None:
    loc = random(3, 2)
    kernel = GaussianKernel(loc, torch.zeros((), dtype=torch.float64))
    assert torch.equal(kernel.sample(Noise(0, range(3))), loc)


def test_divergences_and_entropies_are_torchs() -> None:
    loc, other = random(5, 2, 3), random(5, 2, 3, seed=1)
    for var in (torch.tensor(0.3, dtype=torch.float64), random(5, 2, 3, seed=2).exp()):
        p, q = Normal(loc, var.sqrt()), Normal(other, 0.8)
        kernel = GaussianKernel(loc, var)
        kl = kernel.kl(GaussianKernel(other, torch.tensor(0.64, dtype=torch.float64)))
        torch.testing.assert_close(kl, kl_divergence(p, q).sum((1, 2)))
        torch.testing.assert_close(kernel.entropy(), p.entropy().expand(5, 2, 3).sum((1, 2)))
    bits = BernoulliKernel(3 * loc)
    p, q = Bernoulli(logits=3 * loc), Bernoulli(logits=other)
    torch.testing.assert_close(bits.kl(BernoulliKernel(other)), kl_divergence(p, q).sum((1, 2)))
    torch.testing.assert_close(bits.entropy(), p.entropy().sum((1, 2)))
    with pytest.raises(UnsuitedError, match="from a BernoulliKernel to a GaussianKernel"):
        bits.kl(GaussianKernel(loc, loc))
