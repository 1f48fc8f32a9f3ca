"""Log-densities by the flow, scores and noise, against closed forms and autograd."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from diffprior.diffusions import GaussianDiffusion
from diffprior.errors import DiffpriorError, SettingError, UnsuitedError
from diffprior.networks.nafunet import NAFUNet
from diffprior.priors.base import Prior
from diffprior.priors.bits import BitsPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.network import NetworkPrior
from diffprior.random import Noise
from diffprior.schedules import EDM, Cosine, Geometric, LinearBeta, Rectified, Schedule

from support.exact import random

ZERO, ONE = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
W = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
SCHEDULES = pytest.mark.parametrize(
    "schedule",
    [Cosine(), LinearBeta(), Geometric(), EDM(), Rectified()],
    ids=lambda s: type(s).__name__,
)


def mixture(d: int = 2, schedule: Schedule | None = None) -> MixturePrior:
    """Three correlated components, whose mean is zero."""
    L = random(3, d, d, seed=2) / 3
    cov = L @ L.mT + 0.05 * torch.eye(d, dtype=torch.float64)
    means = random(3, d, seed=3)
    return MixturePrior(W, means - W @ means, cov, GaussianDiffusion(schedule or Cosine()))


class Unknown(Prior):
    """A mixture of which nobody knows the density."""

    def __init__(self, inner: MixturePrior) -> None:
        super().__init__()
        self.inner = inner
        self.diffusion = inner.diffusion
        self.shape = inner.shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.inner(x_t, t)


@SCHEDULES
def test_the_log_density_of_a_mixture(schedule: Schedule) -> None:
    """To 1e-3, of which most is that noise at t = 1 is taken for the whole of x_1."""
    prior = mixture(schedule=schedule)
    x = prior.sample(Noise(0, range(2)))
    expected = prior.log_prob(x, ZERO)
    density = Unknown(prior).density(x)
    torch.testing.assert_close(density.log_prob, expected, atol=1e-3, rtol=0)
    start = prior.diffusion.terminal((1, 2)).log_prob(density.end)
    moved = density.log_prob - start + prior.log_prob(density.end, ONE)
    torch.testing.assert_close(moved, expected, atol=2e-4, rtol=0)
    assert density.standard_error.tolist() == [0, 0] and max(density.calls) < 250


def test_the_log_density_of_noisy_states() -> None:
    prior = mixture()
    t = torch.tensor(0.4, dtype=torch.float64)
    x = prior.diffusion.noise(prior.sample(Noise(0)), t).sample(Noise(1))
    log_prob = Unknown(prior).log_prob(x, t)
    torch.testing.assert_close(log_prob, prior.log_prob(x, t), atol=1e-3, rtol=0)


def test_an_estimated_trace_is_within_its_standard_errors() -> None:
    prior = mixture(6)
    x, rough = prior.sample(Noise(0, range(4))), {"tolerance": 1e-3}
    exact = prior.density(x, **rough).log_prob
    found = prior.density(x, **rough, exact=0, probes=12, ids=range(4))
    off = (found.log_prob - exact) / found.standard_error
    assert off.abs().max() < 4 and 0.3 < off.square().mean().sqrt() < 1.8
    assert prior.density(x[:1], **rough, exact=0, probes=1).standard_error.isnan().all()


def test_a_row_is_what_it_is_alone() -> None:
    """Of a network, to the bit: each row has steps of its own."""
    torch.manual_seed(0)
    network = NAFUNet((8, 8), (1, 1), image_channels=1, size=8)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    prior = NetworkPrior.of(network)
    x = 0.5 * random(3, 1, 8, 8, dtype=torch.float32)
    whole = prior.density(x, tolerance=1e-2, ids="abc", exact=10, probes=2)
    alone = prior.density(x[1:2], tolerance=1e-2, ids="b", exact=10, probes=2)
    assert torch.equal(whole.log_prob[1:2], alone.log_prob)
    assert torch.equal(whole.end[1:2], alone.end) and whole.calls[1] == alone.calls[0]


def test_the_closed_form_of_noisy_states_is_torchs() -> None:
    prior = mixture()
    t = torch.tensor(0.3, dtype=torch.float64)
    alpha_t, sigma_t = prior.diffusion.schedule(t)
    cov = alpha_t**2 * prior.covs() + sigma_t**2 * torch.eye(2, dtype=torch.float64)
    law = MixtureSameFamily(Categorical(W), MultivariateNormal(alpha_t * prior.means, cov))
    x = random(5, 2, seed=5)
    torch.testing.assert_close(prior.log_prob(x, t), law.log_prob(x))


@SCHEDULES
def test_score_and_noise(schedule: Schedule) -> None:
    """The score is the gradient of the log-density; the noise is -sigma_t times it."""
    prior = mixture(schedule=schedule)
    t = torch.tensor(0.5, dtype=torch.float64)
    x = random(4, 2, seed=6).requires_grad_()
    (gradient,) = torch.autograd.grad(prior.log_prob(x, t).sum(), x)
    x = x.detach()
    torch.testing.assert_close(prior.score(x, t), gradient)
    sigma_t = prior.diffusion.schedule(t)[1]
    torch.testing.assert_close(prior.eps(x, t), -sigma_t * gradient)


def test_score_at_a_noise_level() -> None:
    """Of x_0 + sigma eps, whatever the schedule does with it."""
    x = random(4, 2, seed=6)
    expected = mixture(schedule=EDM()).score(x, sigma=0.7)
    for schedule in (Cosine(), Rectified()):
        torch.testing.assert_close(mixture(schedule=schedule).score(x, sigma=0.7), expected)
    torch.testing.assert_close(mixture().eps(x, sigma=0.7), -0.7 * expected)


def test_bits_have_a_probability() -> None:
    prior = BitsPrior(torch.tensor([0.3, 0.7]), torch.tensor([[0.1, 0.9, 0.5], [0.6, 0.2, 1.0]]))
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    for t in (None, torch.tensor(0.6)):
        assert prior.log_prob(states, t).exp().sum().item() == pytest.approx(1)
    one = prior.log_prob(torch.tensor([[1.0, 0.0, 1.0]])).exp().item()
    assert one == pytest.approx(0.3 * 0.1 * 0.1 * 0.5 + 0.7 * 0.6 * 0.8 * 1.0)


def test_what_cannot_be_is_said() -> None:
    x, t = random(1, 2), torch.tensor(0.5)
    prior = mixture(schedule=EDM())
    with pytest.raises(SettingError, match="one of the two"):
        prior.score(x)
    with pytest.raises(SettingError, match="one of the two"):
        prior.eps(x, t, sigma=1.0)
    with pytest.raises(SettingError, match=r"sigma lies in \[0.002, 80\].*got 100"):
        prior.score(x, sigma=100)
    with pytest.raises(SettingError, match="tolerance of FlowSettings is a number in"):
        prior.density(x, tolerance=-1.0)
    with pytest.raises(SettingError, match="the settings seed, ids, tolerance, probes and exact"):
        prior.density(x, probe=3)
    bits = BitsPrior(torch.ones(1), torch.full((1, 2), 0.5))
    for ask in (bits.score, bits.eps, bits.density):
        with pytest.raises(UnsuitedError, match="bits for states"):
            ask(x, t)
    prior.consistency = True
    with pytest.raises(DiffpriorError, match="no E"):
        prior.score(x, t)
