"""Every schedule as a stochastic equation: rates, marginals and both ways back in time."""

import math

import pytest
import torch

from diffprior.diffusions import GaussianDiffusion
from diffprior.errors import SettingError
from diffprior.priors.mixture import MixturePrior
from diffprior.processes import SDE, Chain, sde
from diffprior.random import Noise
from diffprior.schedules import EDM, Cosine, LinearBeta, Rectified, Schedule, SubVP, grid

from support.exact import deviations, many, moments, random

PROCESSES = ["ve", "vp", "sub_vp", "ddpm"]
SCHEDULES = [Cosine(), Rectified(), EDM(), *(sde(name).schedule for name in PROCESSES)]
N = 2000
EARLY = torch.tensor(0.37, dtype=torch.float64)
HALF = torch.tensor(0.5, dtype=torch.float64)


def label(schedule: Schedule) -> str:
    return type(schedule).__name__


@pytest.mark.parametrize("schedule", SCHEDULES, ids=label)
def test_a_small_step_is_the_jump(schedule: Schedule) -> None:
    """Euler-Maruyama and q(x_t | x_s) differ by O(h^2)."""
    x, equation, jump = random(3, 2), SDE(schedule), GaussianDiffusion(schedule).jump
    gaps = []
    for h in (1e-4, 5e-5):
        a, b = equation.forward_step(x, EARLY, EARLY + h), jump(x, EARLY, EARLY + h)
        gaps.append([float((a.loc - b.loc).abs().max()), float((a.var - b.var).abs() / b.var)])
    (loc, var), (finer, relative) = gaps
    assert var < 0.02 and relative == pytest.approx(var / 2, rel=0.02)
    assert finer == pytest.approx(loc / 4, rel=0.02, abs=1e-12)


def test_rates_are_the_papers() -> None:
    """VP: f = -beta / 2 and g^2 = beta; sub-VP: g^2 = beta (1 - e^(-2 B)); VE: f = 0."""
    beta = 1000 * (1e-4 + (0.02 - 1e-4) * 0.5)
    alpha2 = LinearBeta()(HALF)[0] ** 2
    for schedule, f, g2 in (
        (LinearBeta(sigma_min=0), -beta / 2, beta),
        (SubVP(sigma_min=0), -beta / 2, beta * (1 - alpha2**2)),
        (sde("ve").schedule, 0.0, 0.1 * 2 * math.log(1e5)),
    ):
        got = SDE(schedule).rates(HALF)
        assert [float(rate) for rate in got] == pytest.approx([f, float(g2)], rel=1e-9, abs=0)


def test_sub_vp_is_below_vp() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    (a, s), (alpha, sigma) = SubVP(sigma_min=0)(t), LinearBeta(sigma_min=0)(t)
    assert torch.equal(a, alpha) and (s[1:] < sigma[1:]).all()
    torch.testing.assert_close(s, 1 - alpha**2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
def test_simulated_states_have_the_marginal(bimodal: MixturePrior, name: str) -> None:
    """Forward from exact data to t = 0.5: mean and covariance of the noised mixture, to 4 SE."""
    equation = sde(name)
    x_0 = bimodal.sample(Noise(0, range(N))).reshape(1, -1)
    times = grid(equation.schedule, "logsnr", 250, 0.0, 0.5)
    x = equation.simulate(x_0, times, Noise(1)).reshape(N, 2)
    alpha, sigma = equation.schedule(HALF)
    mean, cov = moments(bimodal)
    assert deviations(x, alpha * mean, alpha**2 * cov + sigma**2 * torch.eye(2)) < 4


@pytest.mark.parametrize("name", PROCESSES)
def test_both_ways_back_have_the_law_of_the_data(bimodal: MixturePrior, name: str) -> None:
    """The reverse equation and the flow, from the exact states at t = 0.5 to 0."""
    equation = sde(name)
    prior = many(bimodal, N, equation.schedule)
    alpha, sigma = equation.schedule(HALF)
    x_0 = bimodal.sample(Noise(0, range(N))).reshape(1, -1)
    x_t = alpha * x_0 + sigma * Noise(2).normal(x_0)
    times = grid(equation.schedule, "logsnr", 250, 0.5, 0.0)
    back = equation.reverse(x_t, times, prior, Noise(1))
    flowed = x_t
    for t, s in zip(times[:-1], times[1:], strict=True):
        flowed = flowed + (s - t) * equation.flow(flowed, prior(flowed, t), t)
    for x in (back, flowed):
        assert deviations(x.reshape(N, 2), *moments(bimodal)) < 4


def test_the_chain_composes() -> None:
    """N steps of the discrete chain are q(x_N | x_0); its posterior is Bayes' rule."""
    chain = Chain.linear(50)
    x_0 = torch.full((1, N), 0.7, dtype=torch.float64)
    x = chain.simulate(x_0, Noise(0))
    last = chain.noise(x_0, 50)
    assert abs(x.mean() - last.loc.mean()) < 4 * (last.var / N) ** 0.5
    assert abs(x.var() / last.var - 1) < 4 * (2 / N) ** 0.5
    i, x_i = 20, random(1, 5)
    prior, posterior = chain.noise(x_0[:, :5], i - 1), chain.posterior(x_i, x_0[:, :5], i)
    beta = chain.betas[i - 1]
    var = 1 / (1 / prior.var + (1 - beta) / beta)
    loc = var * (prior.loc / prior.var + (1 - beta).sqrt() * x_i / beta)
    torch.testing.assert_close(posterior.var, var, rtol=1e-12, atol=0)
    torch.testing.assert_close(posterior.loc, loc, rtol=1e-12, atol=0)


def test_the_chain_has_the_two_variances_of_ddpm() -> None:
    """beta and beta-tilde of ``ancestral(variance=1)`` and ``0``, on the chain's own times."""
    chain = Chain.linear(100)
    diffusion = GaussianDiffusion(chain.schedule)
    t, s = torch.tensor([0.4, 0.39], dtype=torch.float64)
    x = torch.zeros(1, 1, dtype=torch.float64)
    i = 39  # step 40
    torch.testing.assert_close(diffusion.jump(x, s, t).var, chain.betas[i], rtol=1e-4, atol=0)
    torch.testing.assert_close(
        diffusion.bridge(x, x, t, s).var, chain.beta_tilde[i], rtol=1e-4, atol=0
    )
    assert chain.beta_tilde[0] == 0 and (chain.beta_tilde < chain.betas).all()


def test_a_process_has_a_name() -> None:
    with pytest.raises(SettingError, match="^no process 'vpp'; there are ve, vp, sub_vp, ddpm$"):
        sde("vpp")  # type: ignore[arg-type]


def test_a_chain_has_its_own_steps_alone() -> None:
    """Step 0 would be the last one; betas of fewer than 21 steps would be above 1."""
    chain, x = Chain.linear(21), torch.ones(1, 2).double()
    for step in (chain.forward_step, chain.noise):
        assert step(x, 21).var > 0
        for i in (0, 22):
            with pytest.raises(SettingError, match=r"a step of the chain, is a whole number in"):
                step(x, i)
    with pytest.raises(SettingError, match=r"in \[2, 21\], got 1"):
        chain.posterior(x, x, 1)
    with pytest.raises(SettingError, match="n is a whole number from 21 on, got 20"):
        Chain.linear(20)
    with pytest.raises(SettingError, match="lie in"):
        Chain(torch.tensor([0.5, 1.0]))
