"""Every sampler of the folder meets exact mixtures, and each solver shows its order."""

import inspect
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from diffprior.catalog import build, names
from diffprior.diffusions import GaussianDiffusion
from diffprior.priors.bits import BitsPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.samplers.ancestral import Ancestral
from diffprior.samplers.base import Sampler
from diffprior.samplers.ddim import DDIM
from diffprior.samplers.dpm import DPM
from diffprior.samplers.heun import Heun
from diffprior.schedules import EDM, Cosine, LinearBeta, Rectified, Schedule

from support.exact import deviations, moments, random

SCHEDULES = [Cosine(), LinearBeta(), Rectified(), EDM()]
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
samplers = pytest.mark.parametrize("name", names("samplers"))


def sampler(text: str) -> Sampler:
    made = build(text, ("samplers",))
    assert isinstance(made, Sampler)
    return made


def draw(s: Sampler, prior: MixturePrior, n: int, seed: int = 0, **settings) -> Tensor:
    noise = Noise(seed, [0], n)
    x = prior.diffusion.terminal((n, *prior.shape)).sample(noise).to(prior.like)
    return s(prior, x, noise, **settings)


def on(prior: MixturePrior, schedule: Schedule) -> MixturePrior:
    weights = prior.log_weights.exp()
    return MixturePrior(weights, prior.means, prior.covs(), GaussianDiffusion(schedule))


@samplers
@pytest.mark.parametrize("grid", ["time", "logsnr", "karras"])
def test_a_mixture_is_met(bimodal: MixturePrior, name: str, grid: str) -> None:
    """Mean and covariance of 2000 draws, to 4 standard errors, at 250 steps."""
    x = draw(sampler(f"{name}(steps=250, grid='{grid}')"), bimodal, 2000)
    assert deviations(x, *moments(bimodal)) < 4


@samplers
@pytest.mark.parametrize("schedule", SCHEDULES[1:], ids=lambda s: type(s).__name__)
def test_every_schedule_is_met(bimodal: MixturePrior, name: str, schedule: Schedule) -> None:
    """The others but Cosine, which the test above has."""
    prior = on(bimodal, schedule)
    x = draw(sampler(f"{name}(steps=250, grid='karras')"), prior, 1000)
    assert deviations(x, *moments(prior)) < 4


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_with_noise_has_the_same_law(bimodal: MixturePrior, eta: float) -> None:
    assert deviations(draw(DDIM(steps=200, eta=eta), bimodal, 2000), *moments(bimodal)) < 4


def test_ddim_with_all_noise_is_ancestral(bimodal: MixturePrior) -> None:
    a, b = (draw(s, bimodal, 5) for s in (DDIM(steps=9, eta=1.0), Ancestral(steps=9)))
    assert torch.equal(a, b)


@pytest.fixture(scope="module")
def fine() -> dict[Schedule, Tensor]:
    """Fine solutions of ``test_order``, by schedule."""
    return {}


@schedules
@pytest.mark.parametrize(
    "name, order", [("ddim", 1), ("heun", 2), ("dpm", 2)], ids=["ddim", "heun", "dpm"]
)
@pytest.mark.parametrize("grid", ["time", "logsnr"])
def test_order(
    bimodal: MixturePrior,
    fine: dict[Schedule, Tensor],
    schedule: Schedule,
    name: str,
    order: int,
    grid: str,
) -> None:
    """The error against a fine solution falls as steps^-order.

    From t = 0.8 to 0.2: beyond, sigma / alpha changes by powers of ten, where the error of a coarse
    grid is not yet in its power law. Slopes by least squares over 16 to 128 steps.
    """
    prior, ends = on(bimodal, schedule), {"start": 0.8, "stop": 0.2}
    alpha, sigma = schedule(torch.tensor(0.8, dtype=torch.float64))
    x = alpha * bimodal.means[:1] + sigma * random(32, 2)
    if schedule not in fine:
        fine[schedule] = Heun(steps=1500, grid="logsnr")(prior, x, **ends)
    steps = torch.tensor([16, 32, 64, 128], dtype=torch.float64)
    ways = [sampler(f"{name}(steps={int(n)}, grid='{grid}')") for n in steps]
    errors = torch.stack([(s(prior, x, **ends) - fine[schedule]).norm() for s in ways])
    u, v = (z.log() - z.log().mean() for z in (steps, errors))
    assert abs(-(u * v).sum() / (u * u).sum() - order) < 0.15


@samplers
def test_same_seed_same_bits(bimodal: MixturePrior, name: str) -> None:
    s = sampler(f"{name}(steps=10)")
    a, b, c = (draw(s, bimodal, 6, seed) for seed in (3, 3, 4))
    assert torch.equal(a, b) and not torch.equal(a, c)


@samplers
def test_rows_of_a_batch_do_not_meet(bimodal: MixturePrior, name: str) -> None:
    s, few, many = sampler(f"{name}(steps=10)"), Noise(0, [0], 2), Noise(0, [0], 7)
    x = bimodal.diffusion.terminal((7, 2)).sample(Noise(1, [0], 7)).double()
    x[3:] *= 1e3
    torch.testing.assert_close(s(bimodal, x, many)[:2], s(bimodal, x[:2], few))


@samplers
def test_what_is_given_stays(bimodal: MixturePrior, name: str) -> None:
    x = random(4, 2)
    before = x.clone()
    sampler(f"{name}(steps=3)")(bimodal, x, Noise(0, [0], 4))
    assert torch.equal(x, before) and x._version == 0 and not x.requires_grad


@schedules
@pytest.mark.parametrize("name", ["ddim", "heun", "dpm"])
def test_inversion_round_trip(bimodal: MixturePrior, schedule: Schedule, name: str) -> None:
    """Up and down again: the same solver inverts itself as its steps grow.

    At 4 times the steps the error falls by half at least: it is the solver's, not the ends'.
    """
    prior, x_0 = on(bimodal, schedule), bimodal.sample(Noise(0, range(16)))
    errors = []
    for steps in (100, 400):
        s = sampler(f"{name}(steps={steps}, grid='karras')")
        up = s(prior, x_0, start=0.0, stop=1.0)
        errors.append((s(prior, up) - x_0).abs().max())
    assert errors[1] < 0.1 and errors[1] < errors[0] / 2


def test_inversion_arrives_at_noise(bimodal: MixturePrior) -> None:
    """Exact states, run up, are standard normal: what an edit begins with."""
    up = Heun(steps=100)(bimodal, bimodal.sample(Noise(0, range(2000))), start=0.0, stop=1.0)
    assert deviations(up, torch.zeros(2).double(), torch.eye(2).double()) < 4


def one(std: float, schedule: Schedule) -> MixturePrior:
    var = torch.tensor([std**2], dtype=torch.float64)
    return MixturePrior(
        torch.ones(1), torch.full((1, 1), 0.2).double(), var, GaussianDiffusion(schedule)
    )


@samplers
@pytest.mark.parametrize("schedule", [Cosine(), LinearBeta()], ids=lambda s: type(s).__name__)
def test_the_width_of_a_gaussian_is_met(name: str, schedule: Schedule) -> None:
    """std 0.3: a solver that stops a level early, or keeps its noise, is off by percents.

    A standard error is 1.1%, or 1.8% for ancestral; first-order ones lose 3 to 10% at 64 steps.
    """
    n, steps = (1500, 400) if name == "ancestral" else (4000, 600)
    x = draw(sampler(f"{name}(steps={steps})"), one(0.3, schedule), n)
    assert abs(x.std() - 0.3) < 4 * 0.3 / (2 * n) ** 0.5


@samplers
@schedules
@pytest.mark.parametrize("steps", [10, 100])
def test_of_one_point_only_the_floor_of_the_schedule_is_left(
    name: str, schedule: Schedule, steps: int
) -> None:
    """Whatever the steps: no noise of the last level but one survives, only sigma at t = 0."""
    prior = one(0.0, schedule)
    x = draw(sampler(f"{name}(steps={steps})"), prior, 500)
    floor = schedule(torch.zeros((), dtype=torch.float64))[1]
    assert (x - 0.2).abs().max() < 5 * floor


@samplers
def test_watch_follows_to_the_end(bimodal: MixturePrior, name: str) -> None:
    seen: list[tuple[Tensor, float]] = []
    x = draw(sampler(f"{name}(steps=7)"), bimodal, 3, callback=lambda x, d: seen.append((x, d)))
    shares = [share for _, share in seen]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) == 7
    assert torch.equal(seen[-1][0], x)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm"])
def test_parts_of_a_chain_make_the_whole(bimodal: MixturePrior, name: str) -> None:
    """start and stop are times of the grid: 1 -> 0.5 -> 0 in 2 x 40 steps is near 80 at once."""
    s = sampler(f"{name}(steps=80, grid='time')")
    half = s.with_steps(40)
    x = random(8, 2)
    parts = half(bimodal, half(bimodal, x, stop=0.5), start=0.5)
    assert (parts - s(bimodal, x)).abs().max() < 0.01


def test_the_temperature_is_the_deviation_of_what_is_drawn() -> None:
    """Of a Gaussian, whose chain is linear, step by step: var_s = gain^2 var_t + k^2 var."""
    one = torch.ones(1, 2, dtype=torch.float64)
    prior = MixturePrior(one[0, :1], 3 * one, 0.5 * one[:, 0])
    times = torch.linspace(1, 0, 7, dtype=torch.float64)
    for k in (0.0, 0.6, 1.0):
        var = prior.diffusion.schedule(times[0])[1] ** 2
        for t, s in pairwise(times):
            at_0, at_1 = prior.kernel(0 * one, t, s), prior.kernel(one, t, s)
            var = (at_1.mean - at_0.mean)[0, 0] ** 2 * var + k**2 * at_0.var
        x = draw(Ancestral(steps=6, temperature=k), prior, 4000)
        assert abs(x.var() / var - 1) < 4 * (2 / x.numel()) ** 0.5


@pytest.mark.parametrize("temperature", [2.0, -0.1])
def test_a_temperature_is_a_share(temperature: float) -> None:
    words = r"^temperature of Ancestral is a number in \[0, 1\], got "
    with pytest.raises(ValueError, match=words):
        Ancestral(temperature=temperature)


def test_bits_have_no_temperature() -> None:
    prior = BitsPrior(torch.ones(1), torch.full((1, 4), 0.3))
    with pytest.raises(ValueError, match="bits have no temperature but 1, got 0.5"):
        Ancestral(steps=2, temperature=0.5)(prior, torch.zeros(1, 4), Noise(0))


def test_samplers_that_draw_ask_for_a_stream(bimodal: MixturePrior) -> None:
    for s in (Ancestral(steps=2), DDIM(steps=2, eta=0.5)):
        with pytest.raises(TypeError, match="draws noise: give it a stream"):
            s(bimodal, random(1, 2))


@samplers
def test_settings_are_named_frozen_and_documented(name: str) -> None:
    s = sampler(name)
    assert s == sampler(name) and s.with_steps(3).steps == 3 and hash(s) == hash(sampler(name))
    assert inspect.getdoc(type(s)) and "https://" in (inspect.getdoc(type(s)) or "")
    with pytest.raises(AttributeError):
        s.steps = 3  # type: ignore[misc]


def test_dpm_ends_on_a_first_order_step(bimodal: MixturePrior) -> None:
    """The step to t = 0 is long in log-SNR: an extrapolation over it overshoots at few steps."""
    x, t, zero = random(4, 2), torch.tensor(0.1).double(), torch.zeros(()).double()
    s, before = DPM(), (random(4, 2, seed=1), torch.tensor(1.0).double())
    ends = [s.step(bimodal, x, t, zero, carry, None)[0] for carry in (before, None)]
    assert torch.equal(*ends)
    middles = [s.step(bimodal, x, t, t / 2, carry, None)[0] for carry in (before, None)]
    assert not torch.allclose(*middles)
