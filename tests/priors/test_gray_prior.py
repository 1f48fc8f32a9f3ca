"""Gray images under a prior of colors: exact for mixtures, and symmetric."""

import pytest
import torch

from diffprior.diffusions import GaussianDiffusion
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import denoise_vjp
from diffprior.priors.gray import GrayPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.schedules import EDM, LinearBeta, Rectified

from support.exact import random

V = 0.03
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


@pytest.fixture(scope="module")
def means() -> torch.Tensor:
    return 0.5 * random(3, 1, 4, 5, seed=1)


@pytest.mark.parametrize("schedule", [EDM(), LinearBeta(), Rectified()], ids=repr)
@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.5])
def test_the_gray_of_a_mixture_is_a_mixture(means, schedule, sigma: float) -> None:
    """Of x ~ N(m, V) in three channels the mean has the variance V / 3."""
    diffusion = GaussianDiffusion(schedule)
    colors = MixturePrior(WEIGHTS, means.expand(-1, 3, -1, -1), V * torch.ones(3), diffusion)
    gray = MixturePrior(WEIGHTS, means, V / 3 * torch.ones(3), diffusion)
    t = schedule.time(sigma)
    x_t = random(2, 1, 4, 5, seed=2)
    torch.testing.assert_close(GrayPrior(colors)(x_t, t), gray(x_t, t), rtol=1e-6, atol=1e-7)


def test_beyond_the_last_noise_level_the_state_is_of_that_level(means) -> None:
    schedule = EDM(sigma_max=5.0)
    colors = MixturePrior(
        WEIGHTS, means.expand(-1, 3, -1, -1), V * torch.ones(3), GaussianDiffusion(schedule)
    )
    t = torch.tensor(1.0, dtype=torch.float64)
    x_t = 5 * random(1, 1, 4, 5, seed=3)
    expected = colors((x_t / 3**0.5).expand(-1, 3, -1, -1), t).mean(1, keepdim=True)
    torch.testing.assert_close(GrayPrior(colors)(x_t, t), expected)


def test_its_jacobian_is_symmetric(means) -> None:
    colors = MixturePrior(WEIGHTS, means.expand(-1, 3, -1, -1), V * torch.ones(3))
    u, v = random(2, 1, 4, 5, seed=4)
    _, vjp = denoise_vjp(GrayPrior(colors), random(1, 1, 4, 5), torch.tensor(0.2))
    assert float((u * vjp(v[None])).sum()) == pytest.approx(float((v * vjp(u[None])).sum()))


def test_it_is_a_prior_of_one_channel() -> None:
    prior = GrayPrior(load_prior()).for_shape((1, 24, 32))
    gray = random(2, 1, 24, 32, dtype=torch.float32)
    assert prior.shape == (1, 24, 32)
    assert prior.name == load_prior().name and prior.sha256 == load_prior().sha256
    assert torch.equal(prior.encode(gray.expand(-1, 3, -1, -1)), gray)
    assert torch.equal(prior.encode(gray), gray)
    with pytest.raises(ValueError, match="1 channel, not 3"):
        prior.for_shape((3, 24, 32))
    with pytest.raises(ValueError, match="need a prior of colors"):
        GrayPrior(prior)
