"""The same steps as diffusers' schedulers, on the same estimates of an exact mixture."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers.scheduling_sde_ve import ScoreSdeVeScheduler
from torch import Tensor

from diffprior.catalog import build
from diffprior.priors.mixture import MixturePrior
from diffprior.processes import Chain
from diffprior.random import Noise
from diffprior.samplers.ancestral import Ancestral
from diffprior.samplers.base import Sampler
from diffprior.schedules import Geometric, Tabulated, pairs

from support.exact import on, random, three_components

CHAIN = Chain.linear()
DDPM = {"beta_start": 1e-4, "beta_end": 0.02}
END = {"lower_order_final": False, **DDPM}
STEPS = 20


class Given(Noise):
    """Numbers that are given, one tensor a draw."""

    def __init__(self, draws: Sequence[Tensor]) -> None:
        super().__init__(0)
        self.draws = list(draws)

    def normal(self, like: Tensor) -> Tensor:
        return self.draws.pop(0).to(like)


@pytest.fixture(scope="module")
def prior() -> MixturePrior:
    return on(three_components(), Tabulated(alphas_cumprod=CHAIN.alphas_cumprod, sigma_min=0.0))


def time_of(timestep: int | Tensor) -> Tensor:
    return (torch.as_tensor(timestep).double() + 1) / 1000


def theirs(scheduler: Any, prior: MixturePrior, x: Tensor, **settings: Any) -> list[Tensor]:
    """Return the states after each call of a scheduler."""
    scheduler.set_timesteps(STEPS)
    states = []
    for timestep in scheduler.timesteps:
        t = time_of(timestep)
        alpha, sigma = prior.diffusion.schedule(t)
        eps = (x - alpha * prior(x, t)) / sigma
        x = scheduler.step(eps, timestep, x, **{k: v.pop(0) for k, v in settings.items()})[0]
        states.append(x)
    return states


def ours(
    text: str, prior: MixturePrior, x: Tensor, timesteps: Sequence[int], noise: Noise | None = None
) -> list[Tensor]:
    """Return the states after each step of a sampler, on the times of a scheduler."""
    s = build(text, ("samplers",))
    assert isinstance(s, Sampler)
    carry, states = None, []
    for t, u in pairs(torch.stack([time_of(i) for i in timesteps])):
        x, carry = s.step(prior, x, t, u, carry, noise)
        states.append(x)
    return states


def check(mine: list[Tensor], their: list[Tensor]) -> None:
    """Check all states but their last one, which lies at a time that is not ours."""
    assert len(mine) == len(their) - 1 > 10
    torch.testing.assert_close(torch.stack(mine), torch.stack(their[:-1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "scheduler"),
    [
        ("dpm(order=1)", DPMSolverMultistepScheduler(solver_order=1, **END)),
        ("dpm(order=2)", DPMSolverMultistepScheduler(solver_order=2, **END)),
        ("deis(order=1)", DEISMultistepScheduler(solver_order=1, **END)),
        ("deis(order=2)", DEISMultistepScheduler(solver_order=2, **END)),
        ("deis(order=3)", DEISMultistepScheduler(solver_order=3, **END)),
        ("unipc(order=1)", UniPCMultistepScheduler(solver_order=1, **END)),
        ("unipc(order=2)", UniPCMultistepScheduler(solver_order=2, **END)),
        ("ddim", DDIMScheduler(clip_sample=False, **DDPM)),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_solver_of_the_flow(prior: MixturePrior, text: str, scheduler: Any) -> None:
    x = random(5, 2)
    their = theirs(scheduler, prior, x)
    check(ours(text, prior, x, scheduler.timesteps.tolist()), their)


def test_unipc_of_order_3(prior: MixturePrior) -> None:
    """Up to the last steps, which are of a lower order there."""
    scheduler = UniPCMultistepScheduler(solver_order=3, **DDPM)
    x = random(5, 2)
    their = theirs(scheduler, prior, x)[:-2]
    check(ours("unipc(order=3)", prior, x, scheduler.timesteps.tolist())[:-2], their)


@pytest.mark.parametrize("order", [1, 2])
def test_the_solver_of_the_reverse_sde(prior: MixturePrior, order: int) -> None:
    """SDE-DPM-Solver++, on the same noise."""
    scheduler = DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", solver_order=order, **END
    )
    x, z = random(5, 2), list(random(STEPS, 5, 2, seed=1).unbind())
    their = theirs(scheduler, prior, x, variance_noise=list(z))
    text = f"dpm(order={order}, eta=1.0)"
    check(ours(text, prior, x, scheduler.timesteps.tolist(), Given(z)), their)


def test_pndm(prior: MixturePrior) -> None:
    """With its Runge-Kutta steps, whose inner states are not compared."""
    scheduler = PNDMScheduler(skip_prk_steps=False, **DDPM)
    x = random(5, 2)
    their = theirs(scheduler, prior, x)
    their = [*their[3:12:4], *their[12:]]
    mine = ours("pndm", prior, x, range(950, -1, -50))
    check(mine, their)


@pytest.mark.parametrize(("variance", "kind"), [(0.0, "fixed_small"), (1.0, "fixed_large")])
def test_the_variances_of_ddpm(prior: MixturePrior, variance: float, kind: str) -> None:
    scheduler = DDPMScheduler(variance_type=kind, **DDPM)
    check_variance(prior, variance, lambda i: float(scheduler._get_variance(i)))


def check_variance(prior: MixturePrior, variance: Any, expected: Any) -> None:
    """Compare the variance of one step, from the difference that a draw makes."""
    x, z = random(1, 2), torch.ones(1, 2, dtype=torch.float64)
    for i in (2, 10, 500, 999):
        t, s = time_of(i), time_of(i - 1)
        draws = [
            Ancestral(variance=variance).step(prior, x, t, s, None, Given([k * z]))[0]
            for k in (0, 1)
        ]
        got = (draws[1] - draws[0]) ** 2
        torch.testing.assert_close(got, torch.full_like(got, expected(i)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("out", [-1.0, -0.2, 1.0])
def test_the_variance_that_a_network_learned(prior: MixturePrior, out: float) -> None:
    scheduler = DDPMScheduler(variance_type="learned_range", **DDPM)

    class Sure(MixturePrior):
        def shares(self) -> Any:
            return lambda x, t: torch.full_like(x, (out + 1) / 2)

    sure = Sure(prior.log_weights.exp(), prior.means, prior.covs(), prior.diffusion)
    said = torch.tensor(out, dtype=torch.float64)
    check_variance(sure, "learned", lambda i: float(scheduler._get_variance(i, said).exp()))


def test_reverse_diffusion_is_the_predictor_of_ve() -> None:
    scheduler = ScoreSdeVeScheduler(sigma_min=0.01, sigma_max=50.0, num_train_timesteps=100)
    scheduler.set_timesteps(100)
    scheduler.set_sigmas(100)
    prior = on(three_components(), Geometric(sigma_min=0.01, sigma_max=50.0))
    x = random(5, 2)
    zero = Given([torch.zeros(1, dtype=torch.float64).expand(5, 2)])
    i = 60
    t, s = (torch.tensor(k / 99, dtype=torch.float64) for k in (i, i - 1))
    sigma = prior.diffusion.schedule(t)[1]
    score = (prior(x, t) - x) / sigma**2
    their = scheduler.step_pred(score, torch.tensor(i / 99), x).prev_sample_mean
    mine, _ = build("reverse_diffusion", ("samplers",)).step(prior, x, t, s, None, zero)
    torch.testing.assert_close(mine, their, rtol=1e-5, atol=1e-5)
