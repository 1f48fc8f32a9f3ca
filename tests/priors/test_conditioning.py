"""Conditions as priors, on mixtures of which every condition is known."""

import pytest
import torch
from torch import Tensor

from diffprior.catalog import build
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.matrix import Matrix
from diffprior.priors.guided import GuidedPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.tilted import TiltedPrior
from diffprior.random import Noise
from diffprior.samplers.ancestral import Ancestral

from support.exact import deviations, moments, random

ONE = torch.ones(1, dtype=torch.float64)
T = torch.tensor(0.4, dtype=torch.float64)


def draw(prior, n: int = 4000, steps: int = 200) -> Tensor:
    noise = Noise(0, samples=n)
    x_T = prior.diffusion.terminal((n, *prior.shape)).sample(noise).double()
    return Ancestral(steps=steps, grid="logsnr")(prior, x_T, noise)


@pytest.fixture
def labelled() -> tuple[MixturePrior, list[MixturePrior]]:
    """Four components, two of each label, and the prior of each label."""
    weights, means = torch.tensor([0.4, 0.1, 0.2, 0.3]).double(), 2 * random(4, 2, seed=3)
    covs = 0.1 * torch.arange(1, 5).double()
    parts = [[0, 1], [2, 3]]
    one = [MixturePrior(weights[k], means[k], covs[k]) for k in parts]
    return MixturePrior(weights, means, covs), one


def log_label(whole: MixturePrior, one: MixturePrior, share: float):
    """Return log p(label | x_t), which is exact for mixtures."""

    def noised(prior: MixturePrior, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = prior.diffusion.schedule(t)
        covs = alpha_t**2 * prior.eigvals[:, 0] + sigma_t**2
        return MixturePrior(prior.log_weights.exp(), alpha_t * prior.means, covs).log_prob(x_t)

    return lambda x_t, t: noised(one, x_t, t) - noised(whole, x_t, t) + torch.tensor(share).log()


@pytest.mark.parametrize("label", [0, 1])
def test_classifier_guidance_is_the_posterior_of_the_class(labelled, label: int) -> None:
    """At scale 1 every answer is the conditional prior's, so its samples are, too."""
    whole, one = labelled
    tilted = TiltedPrior(whole, log_label(whole, one[label], 0.5))
    x_t = 2 * random(50, 2, seed=5)
    for t in (0.02, 0.3, 0.9):
        t = torch.tensor(t, dtype=torch.float64)
        torch.testing.assert_close(tilted(x_t, t), one[label](x_t, t), rtol=1e-7, atol=1e-9)
    assert deviations(draw(tilted, 1000, 100), *moments(one[label])) < 5


def test_a_clean_r_goes_back_through_the_prior() -> None:
    """Of N(m, v) and log r = b x the gradient is b times the slope of E[x_0 | x_t]."""
    v, b = 0.5, random(3)
    prior = MixturePrior(ONE, random(1, 3, seed=1), v * ONE)
    alpha_t, sigma_t = prior.diffusion.schedule(T)
    tilted = TiltedPrior(prior, lambda x, t: x @ b, scale=2.0, clean=True)
    slope = alpha_t * v / (alpha_t**2 * v + sigma_t**2)
    x_t = random(4, 3, seed=2)
    expected = prior(x_t, T) + 2 * sigma_t**2 / alpha_t * slope * b
    torch.testing.assert_close(tilted(x_t, T), expected)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_free_guidance_is_the_tilted_gaussian(scale: float) -> None:
    """N(c, v)^w N(m, v)^(1 - w) is N(m + w (c - m), v): every answer, and the samples."""
    m, c, v = random(1, 2, seed=1), random(1, 2, seed=2), 0.3 * ONE
    guided = GuidedPrior(MixturePrior(ONE, c, v), MixturePrior(ONE, m, v), scale)
    exact = MixturePrior(ONE, m + scale * (c - m), v)
    x_t = random(20, 2, seed=3)
    torch.testing.assert_close(guided(x_t, T), exact(x_t, T))
    assert deviations(draw(guided, 1000, 100), *moments(exact)) < 5


def test_guidance_holds_in_its_interval_alone(labelled) -> None:
    whole, one = labelled
    guided = GuidedPrior(one[0], whole, 4.0, interval=(0.3, 0.6))
    x_t = random(5, 2)
    for t, inside in ((0.1, False), (0.4, True), (0.9, False)):
        t = torch.tensor(t, dtype=torch.float64)
        assert torch.equal(guided(x_t, t), one[0](x_t, t)) != inside


def test_rescaled_guidance_has_the_deviation_of_the_condition() -> None:
    m, c, v = 0.1 * random(1, 6, seed=1), random(1, 6, seed=2), 0.3 * ONE
    conditional = MixturePrior(ONE, c, v)
    settings = conditional, MixturePrior(ONE, m, v), 5.0, (0.0, 1.0)
    x_t = random(3, 6, seed=3)
    plain, half, whole = (GuidedPrior(*settings, phi)(x_t, T) for phi in (0.0, 0.5, 1.0))
    torch.testing.assert_close(whole.std(1), conditional(x_t, T).std(1))
    torch.testing.assert_close(half, (plain + whole) / 2)
    assert (plain.std(1) > 1.5 * whole.std(1)).all()


def test_a_conditioned_prior_takes_any_method(labelled) -> None:
    """The posterior of a measurement and a label at once, by a sampler that is exact here."""
    whole, one = labelled
    likelihood = GaussianLikelihood(operator=Matrix(random(1, 2, seed=9)), y=ONE[:1], sigma=0.4)
    tilted = TiltedPrior(whole, log_label(whole, one[0], 0.5))
    method = build("smc(proposal=mmps(iterations=2), steps=60)")
    x = method(tilted, likelihood, n=600)
    mean, cov = moments(one[0].posterior(likelihood))
    assert ((x.mean(0) - mean).abs() < 6 * (cov.diagonal() / 600).sqrt()).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"rescale": 2.0}, "rescale lies in"), ({"interval": (1.0, 0.0)}, "an interval is")],
)
def test_wrong_settings_are_one_sentence(labelled, settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GuidedPrior(labelled[1][0], labelled[0], **settings)


def test_priors_of_two_shapes_are_refused(labelled) -> None:
    other = MixturePrior(ONE, torch.zeros(1, 3).double(), ONE)
    with pytest.raises(ValueError, match="have one shape"):
        GuidedPrior(labelled[0], other)
