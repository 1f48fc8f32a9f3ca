"""The error of a denoiser is seen where there are measurements, and taken away everywhere."""

import pytest
import torch
from torch import Tensor

from diffprior.classical.fill import local_mean
from diffprior.diffusions import GaussianDiffusion
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.dpir import DPIR
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.schedules import LinearBeta

from support.exact import random


class Tinted(Prior):
    """A denoiser that keeps all that it sees, and adds a cast."""

    def __init__(self, cast: Tensor) -> None:
        super().__init__()
        self.register_buffer("cast", cast)
        self.diffusion = GaussianDiffusion(LinearBeta())
        self.shape = tuple(cast.shape)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, _ = self.diffusion.schedule(t)
        return (x_t / alpha_t + self.cast).to(x_t)


def box() -> Tensor:
    keep = torch.ones(1, 48, 48)
    keep[:, 10:40, 12:44] = 0
    return keep


@pytest.mark.parametrize("steps", [10, 30, 100])
def test_a_cast_does_not_add_up_where_nothing_is_measured(steps: int) -> None:
    prior = Tinted(torch.tensor([0.02, -0.01, 0.005]).view(3, 1, 1).expand(3, 48, 48))
    y = torch.full((1, 3, 48, 48), 0.25) * box()
    likelihood = GaussianLikelihood(operator=Mask(box()), y=y, sigma=0.0)
    guess = torch.full((1, 3, 48, 48), 0.25)
    plain, leveled = (
        DPIR(start=0.4, steps=steps, spread=spread)(prior, likelihood, guess=guess)[0]
        for spread in (0, 8)
    )
    assert (plain - 0.25).abs().max() == pytest.approx(0.02 * steps, rel=0.01)
    assert (leveled - 0.25).abs().max() < 1e-4


def test_the_mean_of_blocks_is_exact_on_constants_and_follows_slopes() -> None:
    known = box()[None]
    constant = torch.full((2, 3, 48, 48), 0.3)
    assert (local_mean(constant * known, known, 16) - 0.3).abs().max() < 1e-6
    slope = torch.linspace(-1, 1, 50).expand(1, 1, 37, 50)
    known = (torch.rand(1, 1, 37, 50, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    assert (local_mean(slope * known, known, 8) - slope).abs().max() < 0.2


def test_no_spread_is_the_method_of_the_paper() -> None:
    assert DPIR().spread == 0


class Slow(Tinted):
    """A denoiser that closes a tenth of the gap to its image at each call."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, _ = self.diffusion.schedule(t)
        x = x_t / alpha_t
        return (x + 0.1 * (self.cast - x)).to(x_t)


def test_what_is_missing_is_reached_sooner_by_few_rounds_that_go_ahead() -> None:
    """e_k+1 = (1 - 0.1 r) e_k + m (e_k - e_k-1), and the last round is plain."""
    prior = Slow(torch.full((3, 48, 48), 0.5))
    likelihood = GaussianLikelihood(operator=Mask(box()), y=0.5 * box()[None].expand(1, 3, -1, -1))
    guess = 0.5 * box()[None].expand(1, 3, -1, -1)
    hole = (box() == 0).expand(3, -1, -1)
    for steps, ahead, r, m in (
        (12, False, 1.0, 0.0),
        (5, True, 2.0, 0.3),
        (12, True, 2.0, 0.3),
        (21, True, 1.5, 0.15),
        (30, True, 1.0, 0.0),
        (40, True, 1.0, 0.0),
    ):
        last = error = -0.5
        for _ in range(steps - 1):
            last, error = error, (1 - 0.1 * r) * error + m * (error - last)
        x = DPIR(start=0.4, steps=steps, ahead=ahead)(prior, likelihood, guess=guess)[0]
        expected = torch.full_like(x[hole], 0.5 + 0.9 * error)
        torch.testing.assert_close(x[hole], expected, rtol=0, atol=1e-5)
        assert torch.equal(x[~hole], torch.full_like(x[~hole], 0.5))


def test_30_rounds_that_go_ahead_are_those_of_the_paper_and_noise_is_never_gone_after() -> None:
    prior = Slow(torch.full((3, 48, 48), 0.5))
    known = box()[None].expand(1, 3, -1, -1) != 0
    noisy = 0.3 * known + 0.1 * random(*known.shape, seed=1, dtype=torch.float32) * known
    for steps, sigma in ((30, 0.0), (6, 0.1)):
        likelihood = GaussianLikelihood(operator=Mask(box()), y=noisy, sigma=sigma)
        plain, ahead = (
            DPIR(start=0.4, steps=steps, ahead=how)(prior, likelihood) for how in (False, True)
        )
        torch.testing.assert_close(plain[known], ahead[known], rtol=0, atol=1e-6)
        missing = (0.5 - ahead[~known]) / (0.5 - plain[~known])
        assert missing.sub(1).abs().max() < 1e-6 if steps == 30 else missing.max() < 0.7
