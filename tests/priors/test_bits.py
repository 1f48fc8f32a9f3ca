"""Bits, where every law can be written down: six of them are 64 states."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from diffprior.catalog import build, names
from diffprior.diffusions import GaussianDiffusion
from diffprior.likelihoods.bits import FlipLikelihood
from diffprior.methods.base import Guidance, Method
from diffprior.methods.smc import TwistedSMC
from diffprior.methods.tilt import Tilt
from diffprior.operators.mask import Mask
from diffprior.priors.bits import BitsPrior
from diffprior.random import Noise
from diffprior.samplers.ancestral import Ancestral

from support.exact import random

D = 6
STATES = torch.tensor(list(itertools.product([0.0, 1.0], repeat=D)), dtype=torch.float64)
KEEP = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
Y = torch.tensor([[1.0, 0.0, 1.0, 0.5, 0.5, 0.5]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
PROBS = 0.05 + 0.9 * (2 * random(3, D)).sigmoid()


@pytest.fixture
def prior() -> BitsPrior:
    return BitsPrior(2 * WEIGHTS, PROBS)


@pytest.fixture
def seen() -> FlipLikelihood[Mask]:
    return FlipLikelihood(operator=Mask(KEEP).double(), y=Y, rate=0.1)


def log_prior() -> Tensor:
    """Return the log-probability of each of the 64 states."""
    parts = STATES[:, None] * PROBS.log() + (1 - STATES[:, None]) * (1 - PROBS).log()
    return (parts.sum(2) + WEIGHTS.log()).logsumexp(1)


def posterior() -> Tensor:
    """Return the probability of each state, three bits of it seen through 10% flips."""
    agree = ((STATES == Y) * KEEP).sum(1)
    return (log_prior() + agree * torch.tensor(9.0).double().log()).softmax(0)


def variation(x: Tensor, p: Tensor) -> float:
    """Return the total variation between draws and a law of the 64 states."""
    index = (x @ (2.0 ** torch.arange(D - 1, -1, -1, dtype=torch.float64))).long()
    share = torch.bincount(index, minlength=len(p)) / len(x)
    return float((share - p).abs().sum() / 2)


def test_enumeration_is_a_law() -> None:
    assert abs(log_prior().exp().sum() - 1) < 1e-12
    assert variation(STATES.repeat(1, 1), torch.full((64,), 1 / 64)) < 1e-6
    assert (posterior() - log_prior().exp()).abs().sum() / 2 > 0.3  # the data matter


@pytest.mark.parametrize("t", [0.01, 0.3, 0.6, 0.99])
def test_belief_is_bayes_by_enumeration(prior: BitsPrior, t: float) -> None:
    """E[x_0 | x_t] summed over all 64 x_0, for every x_t."""
    time = torch.tensor(t, dtype=torch.float64)
    kernel = prior.diffusion.noise(STATES, time)
    log_q = torch.stack([kernel.log_prob(x_t.expand(64, D)) for x_t in STATES])  # (x_t, x_0)
    expected = (log_prior() + log_q).softmax(1) @ STATES
    torch.testing.assert_close(prior(STATES, time), expected, rtol=0, atol=1e-6)


def test_bits_in_the_shape_of_an_image(prior: BitsPrior) -> None:
    image = BitsPrior(WEIGHTS, PROBS.reshape(3, 1, 2, 3))
    t = torch.tensor(0.4, dtype=torch.float64)
    x_0 = image(STATES.reshape(64, 1, 2, 3), t)
    torch.testing.assert_close(x_0.flatten(1), prior(STATES, t))


def test_ancestral_draws_the_prior(prior: BitsPrior) -> None:
    """4000 draws of 64 states: chance alone makes a total variation of about 0.045."""
    noise = Noise(0, [0], 4000)
    x = Ancestral(steps=200)(
        prior, prior.diffusion.terminal((4000, D)).sample(noise).double(), noise
    )
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert variation(x, log_prior().exp()) < 0.07


@pytest.mark.parametrize("proposal", [Tilt(), Guidance()], ids=["tilt", "prior"])
def test_particles_meet_the_posterior(prior: BitsPrior, seen, proposal: Guidance[Any]) -> None:
    x = TwistedSMC(proposal=proposal, steps=100)(prior, seen, n=4000)
    assert variation(x, posterior()) < 0.08


def test_tilting_alone_is_a_heuristic_that_closes_in(prior: BitsPrior, seen) -> None:
    x = Tilt(sampler=Ancestral(steps=100))(prior, seen, n=2000)
    assert ((x == Y) * KEEP).sum(1).mean() > 2.5  # of three bits
    assert variation(x, posterior()) < variation(x, log_prior().exp())


def test_rows_of_a_batch_do_not_meet(prior: BitsPrior, seen) -> None:
    ys = torch.cat([Y, 1 - Y, Y])
    batch = FlipLikelihood(operator=seen.operator, y=ys, rate=0.1)
    for method in (Tilt(sampler=Ancestral(steps=10)), TwistedSMC(proposal=Tilt(), steps=10)):
        x = method(prior, batch, n=20)
        assert torch.equal(x[1], method(prior, batch.select(torch.tensor([1])), n=20))
        assert torch.equal(x[0], x[2])


def for_pixels() -> list[str]:
    return [name for name in names("methods") if build(name).needs.diffusion is GaussianDiffusion]


@pytest.mark.parametrize("name", [*for_pixels(), "smc(proposal=dps)"])
def test_methods_for_pixels_refuse_bits(prior: BitsPrior, seen, name: str) -> None:
    method: Method[Any] = build(name)
    with pytest.raises(TypeError, match="needs a GaussianDiffusion, got BernoulliDiffusion$"):
        method(prior, seen)


def test_bits_refuse_half_an_eta(prior: BitsPrior, seen) -> None:
    with pytest.raises(ValueError, match="^bits have no eta but 1"):
        build("tilt(sampler=ddim(eta=0.5))")(prior, seen)
