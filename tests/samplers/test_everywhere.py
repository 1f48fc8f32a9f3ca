"""Every sampler of the folder: in generate, under guidance and, without noise, in inversion."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import diffprior
from diffprior.catalog import build, names
from diffprior.errors import SettingError, UnsuitedError
from diffprior.inversions.flow import FlowInversion
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.networks.parameterizations import Discrete, linear_table
from diffprior.priors.base import Prior
from diffprior.priors.bits import BitsPrior
from diffprior.priors.guided import GuidedPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.network import NetworkPrior
from diffprior.priors.tiled import TiledPrior
from diffprior.random import Noise
from diffprior.samplers.adaptive_sde import AdaptiveSDE
from diffprior.samplers.ancestral import Ancestral
from diffprior.samplers.heun import Heun
from diffprior.samplers.langevin import Langevin
from diffprior.samplers.predictor_corrector import PredictorCorrector
from diffprior.samplers.restart import Restart
from diffprior.samplers.rk45 import RK45
from diffprior.samplers.unipc import UniPC
from diffprior.schedules import EDM, Cosine, Geometric, grid, pairs

from support.exact import deviations, many, moments, on, quick, random, three_components

NAMES = names("samplers")
FLOWS = [name for name in NAMES if not build(quick(name), ("samplers",)).draws]


class Images(Prior):
    """Images of 16 x 16 pixels, each a normal about gray."""

    def __init__(self, shape: tuple[int, ...] = (3, 16, 16)) -> None:
        super().__init__()
        self.diffusion = three_components().diffusion
        self.shape = shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.diffusion.schedule(t)
        return 0.1 + 0.04 * alpha * (x_t - 0.1 * alpha) / (0.04 * alpha**2 + sigma**2)

    def for_shape(self, shape: Any) -> Prior:
        return self


@pytest.mark.parametrize("name", NAMES)
def test_generate_takes_it(name: str) -> None:
    """Row by row the same images, whatever their number, and of the deviation of the prior."""
    more = {"repeats": 20, "size": 0.2} if name == "langevin" else {}
    text = quick(name, steps=40, grid="logsnr", **more)
    draw = {"prior": Images(), "sampler": text, "seed": 3}
    one, two = (diffprior.generate(samples=n, **draw) for n in (1, 2))
    first, second = (np.array(sample) for sample in two.samples)
    assert np.array_equal(np.array(one.image), first) and not np.array_equal(first, second)
    pixels = second / 127.5 - 1
    assert abs(pixels.mean() - 0.1) < 0.04 and abs(pixels.std() - 0.2) < 0.05
    assert two.report["network_calls"] >= 40


@pytest.mark.parametrize("name", NAMES)
def test_a_guided_prior_is_tilted(name: str) -> None:
    """Of two points, guidance at scale 3 extrapolates: 3 c - 2 f, by any sampler."""
    mean = torch.tensor([[0.4, -0.2]], dtype=torch.float64)
    one, none = torch.ones(1), torch.zeros(1, dtype=torch.float64)
    guided = GuidedPrior(MixturePrior(one, mean, none), MixturePrior(one, 0 * mean, none), 3.0)
    s = build(quick(name, steps=100, grid="logsnr"), ("samplers",))
    x = s(
        guided,
        guided.diffusion.terminal((4, 2)).sample(Noise(0, samples=4)).double(),
        Noise(1, samples=4),
    )
    assert (x - 3 * mean).abs().max() < 0.02


@pytest.mark.parametrize("name", sorted({*NAMES} - {"ancestral", "ddim", "dpm", "heun"}))
def test_mmps_is_exact_for_a_gaussian_by_it(
    gaussian: MixturePrior, seen: GaussianLikelihood[Any], name: str
) -> None:
    """As ``test_methods`` has it for the other samplers; here with 400 draws."""
    steps = {"euler": 300, "euler_maruyama": 300, "gddim": 300, "rk45": 20, "dpm_solver": 40}
    more = {"steps": 40, "repeats": 20, "size": 0.2} if name == "langevin" else {}
    text = quick(name, **{"steps": steps.get(name, 100), "grid": "logsnr", **more})
    x = build(f"mmps(iterations=2, sampler={text})", ("methods",))(gaussian, seen, n=400)
    assert deviations(x, *moments(gaussian.posterior(seen))) < 4


@pytest.mark.parametrize("name", FLOWS)
def test_flow_inversion_goes_up_and_down_by_it(name: str) -> None:
    prior = three_components()
    x_0 = prior.sample(Noise(0, range(6)))
    steps = 400 if name == "euler" else 100
    method = FlowInversion(sampler=build(quick(name), ("samplers",)), steps=steps)
    assert (method.decode(prior, method.encode(prior, x_0)) - x_0).abs().max() < 0.15


@pytest.mark.parametrize("name", sorted({*NAMES} - {*FLOWS}))
def test_flow_inversion_refuses_noise(name: str) -> None:
    with pytest.raises(SettingError, match="^the sampler of flow draws no noise, got "):
        FlowInversion(sampler=build(name, ("samplers",)))


def test_runge_kutta_is_scipys() -> None:
    """At a fine tolerance both meet the flow; at a coarse one ours needs about as many calls."""
    schedule = Geometric(sigma_min=2e-3, sigma_max=80.0)
    prior = on(three_components(), schedule)
    x = prior.diffusion.terminal((1, 2)).sample(Noise(3)).double()
    r = schedule.ratio(torch.tensor([1.0, 0.0], dtype=torch.float64))

    def slope(r: float, z: np.ndarray) -> np.ndarray:
        t = torch.tensor(math.log(r / 2e-3) / math.log(4e4), dtype=torch.float64)
        return ((torch.from_numpy(z)[None] - prior(torch.from_numpy(z)[None], t))[0] / r).numpy()

    def solve(tolerance: float) -> Any:
        ends, start = r.tolist(), x[0].numpy()
        return solve_ivp(slope, ends, start, rtol=tolerance, atol=tolerance, method="RK45")

    exact = torch.from_numpy(solve(1e-11).y[:, -1])
    for tolerance in (1e-3, 1e-6):
        calls = Counting(prior)
        error = (RK45(rtol=tolerance, atol=tolerance)(calls, x)[0] - exact).abs().max()
        assert error < 5 * tolerance
        assert calls.count < 2.5 * solve(tolerance).nfev


class Counting(Prior):
    """A prior that counts its calls."""

    def __init__(self, inner: Prior) -> None:
        super().__init__()
        self.inner, self.count = inner, 0
        self.diffusion, self.shape = inner.diffusion, inner.shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.count += 1
        return self.inner(x_t, t)


def test_one_step_of_runge_kutta_is_of_fifth_order() -> None:
    prior = on(three_components(), EDM())
    x = random(8, 2)
    exact = RK45(steps=200, rtol=1e9)(prior, x, start=0.5, stop=0.4)
    errors = [
        float((RK45(steps=n, rtol=1e9)(prior, x, start=0.5, stop=0.4) - exact).norm())
        for n in (4, 8, 16)
    ]
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert abs(slopes - 5).max() < 0.5


@pytest.mark.parametrize("s", [RK45(rtol=1e-6, atol=1e-6), AdaptiveSDE()], ids=["rk45", "sde"])
def test_each_row_takes_its_own_steps(s: RK45 | AdaptiveSDE) -> None:
    """To the bit, beside rows that need more steps and beside none."""
    prior = on(three_components(), EDM())
    x = 80 * random(6, 2)
    x[3:] = prior.means.repeat(1, 1)
    alone = [s(prior, x[i : i + 1], Noise(0, ["abcdef"[i]])) for i in range(6)]
    together = s(prior, x, Noise(0, list("abcdef")))
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-12, atol=1e-12)


def test_a_finer_tolerance_is_more_calls_and_a_better_law() -> None:
    """Of a narrow Gaussian, whose deviation is off by a tenth and then by a fiftieth at most."""
    prior = MixturePrior(torch.ones(1), torch.zeros(1, 1).double(), torch.tensor([0.01]).double())
    counts = []
    for rtol, most in ((0.2, 0.2), (0.03, 0.02)):
        row = Counting(many(prior, 4000, EDM()))
        x_T = row.diffusion.terminal((1, 4000)).sample(Noise(0)).double()
        x = AdaptiveSDE(steps=4, rtol=rtol, atol=rtol / 20)(row, x_T, Noise(1))
        assert abs(float(x.std()) / 0.1 - 1) < most + 4 / 8000**0.5
        counts.append(row.count)
    assert counts[1] > 1.3 * counts[0]


def test_beta_is_right_for_a_standard_normal() -> None:
    """Of N(0, 1), variance=1 keeps variance 1 at any number of steps; variance=0 has less.

    Before the last step, which draws no more noise than the posterior of one point has.
    """
    prior = MixturePrior(torch.ones(1), torch.zeros(1, 1).double(), torch.ones(1).double())
    row = many(prior, 20_000)
    x_T = row.diffusion.terminal((1, 20_000)).sample(Noise(0)).double()
    for steps in (5, 20, 100):
        large, small = (
            Ancestral(steps=steps, variance=v)(row, x_T, Noise(1), stop=0.05) for v in (1.0, 0.0)
        )
        assert abs(float(large.var()) - 1) < 4 * (2 / 20_000) ** 0.5
        assert float(small.var()) < (0.6 if steps == 5 else 0.98)


def test_a_prior_without_learned_variances_says_so() -> None:
    prior = diffprior.load_prior("fashion")
    with pytest.raises(SettingError, match="has learned no variances: variance is a number"):
        Ancestral(steps=2, variance="learned")(prior, torch.zeros(1, *prior.shape), Noise(0))


class TwoHeads(torch.nn.Module):
    """A network of noise and variances: of its input, 0.1 and 0.2 times."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return torch.cat([0.1 * x, 0.2 * x], 1)


def test_learned_variances_pass_through_windows() -> None:
    inner = NetworkPrior(TwoHeads(), Discrete(linear_table()), (3, 96, 96))
    x, t = random(1, 3, 96, 96, dtype=torch.float32), torch.tensor(0.5, dtype=torch.float64)
    for prior in (inner, TiledPrior(inner, 64, 16), GuidedPrior(inner, inner)):
        torch.testing.assert_close(prior.shares()(x, t), (0.2 * x + 1) / 2)
    drawn = diffprior.generate(
        prior=inner, width=32, height=32, sampler="ancestral(steps=3, variance='learned')"
    )
    assert drawn.image.size == (32, 32)


def test_a_step_of_annealed_langevin_is_the_papers() -> None:
    """x + alpha_i / 2 s(x, sigma_i) + sqrt(alpha_i) z, alpha_i = e sigma_i^2 / sigma_L^2."""
    prior = on(three_components(), Geometric(sigma_min=0.01, sigma_max=1.0))
    x = random(3, 2)
    t, s = torch.tensor([0.6, 0.5], dtype=torch.float64)
    mine, _ = Langevin(repeats=2).step(prior, x, t, s, None, Noise(0, samples=3))
    noise, sigma = Noise(0, samples=3), 0.1
    alpha = 2e-5 * sigma**2 / 0.01**2
    for _ in range(2):
        score = (prior(x, s) - x) / sigma**2
        x = x + alpha / 2 * score + alpha**0.5 * noise.normal(x)
    torch.testing.assert_close(mine, x, rtol=1e-10, atol=0)


def test_the_corrector_is_the_papers() -> None:
    """N(x + e g, 2 e), e = 2 (snr ||z|| / ||g||)^2 with the norm that g has for noise alone."""
    prior = on(three_components(), Geometric(sigma_min=0.01, sigma_max=1.0))
    x = random(3, 2)
    t, s = torch.tensor([0.6, 0.5], dtype=torch.float64)
    pc = PredictorCorrector(snr=0.2, predictor=build("ddim", ("samplers",)))
    mine, _ = pc.step(prior, x, t, s, None, Noise(0, samples=3))
    x = pc.predictor.step(prior, x, t, s, None, None)[0]
    e = 2 * (0.2 * 0.1) ** 2
    g = (prior(x, s) - x) / 0.1**2
    expected = x + e * g + (2 * e) ** 0.5 * Noise(0, samples=3).normal(x)
    torch.testing.assert_close(mine, expected, rtol=1e-10, atol=0)


def test_corrections_bring_a_coarse_predictor_to_the_law() -> None:
    """DDIM from a start that is too narrow: Langevin steps repair what a flow keeps."""
    prior = on(three_components(), EDM())
    row = many(prior, 2000)
    x_T = 0.2 * row.diffusion.terminal((1, 4000)).sample(Noise(0)).double()
    laws = {}
    for corrections in (0, 4):
        s = PredictorCorrector(
            steps=100, corrections=corrections, predictor=build("ddim", ("samplers",)), snr=0.3
        )
        laws[corrections] = deviations(s(row, x_T, Noise(1)).reshape(-1, 2), *moments(prior))
    assert laws[4] < laws[0] / 3


def test_churn_is_algorithm_2() -> None:
    prior = on(three_components(), EDM())
    x = 3 * random(4, 2)
    schedule = prior.diffusion.schedule
    times = grid(schedule, "karras", 20)
    t, s = times[8], times[9]
    r, r_next = float(schedule.ratio(t)), float(schedule.ratio(s))
    heun = Heun(steps=20, churn=6.0, low=0.05, high=50.0, inflation=1.003)
    mine, _ = heun.step(prior, x, t, s, None, Noise(0, samples=4))
    up = (1 + 6 / 20) * r
    z = x + (up**2 - r**2) ** 0.5 * 1.003 * Noise(0, samples=4).normal(x)
    d = (z - prior(z, schedule.time(up))) / up
    end = z + (r_next - up) * d
    end = z + (r_next - up) * (d + (end - prior(end, s)) / r_next) / 2
    torch.testing.assert_close(mine, end, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("churn", [10.0, 80.0])
def test_churn_keeps_the_law(bimodal: MixturePrior, churn: float) -> None:
    row = many(bimodal, 2000)
    x_T = row.diffusion.terminal((1, 4000)).sample(Noise(0)).double()
    x = Heun(steps=200, churn=churn)(row, x_T, Noise(1))
    assert deviations(x.reshape(-1, 2), *moments(bimodal)) < 4


def test_heun_without_churn_is_as_before(bimodal: MixturePrior) -> None:
    x = random(4, 2)
    assert torch.equal(Heun(steps=6)(bimodal, x), Heun(steps=6, inflation=2.0)(bimodal, x))


def test_restarts_forget_an_error() -> None:
    """A chain of DDIM in few steps is too narrow; what goes up again and down is less so."""
    prior = MixturePrior(torch.ones(1), torch.zeros(1, 1).double(), torch.tensor([0.04]).double())
    row = many(prior, 20_000, EDM())
    x_T = row.diffusion.terminal((1, 20_000)).sample(Noise(0)).double()
    errors = []
    for repeats in (0, 3):
        s = Restart(
            steps=6, solver=build("ddim", ("samplers",)), repeats=repeats, inner=30, high=1.0
        )
        errors.append(abs(float(s(row, x_T, Noise(1)).std()) - 0.2))
    assert errors[1] < errors[0] / 3


@pytest.mark.parametrize("kind", [Restart, PredictorCorrector], ids=lambda kind: kind.__name__)
def test_a_sampler_inside_another_has_the_steps_of_that(bimodal: MixturePrior, kind: type) -> None:
    """The churn of Heun is a share of its steps, and draws noise, whatever else is drawn."""
    own = {Restart: ("solver", "repeats"), PredictorCorrector: ("predictor", "corrections")}[kind]
    x = bimodal.diffusion.terminal((4, 2)).sample(Noise(0, samples=4)).double()
    inner = Heun(churn=3.0, steps=1000)
    outer = kind(steps=6, grid="karras", **{own[0]: inner, own[1]: 0})
    alone = Heun(churn=3.0, steps=6)
    assert outer.draws
    draws = [s(bimodal, x, Noise(1, samples=4)) for s in (outer, alone)]
    assert torch.equal(*draws)
    assert not torch.equal(draws[1], Heun(steps=6)(bimodal, x))


@pytest.mark.parametrize("name", NAMES)
def test_bits_are_drawn_by_what_knows_them(name: str) -> None:
    """A sampler of Gaussian noise would make numbers of them that are no bits."""
    bits = BitsPrior(torch.ones(1), torch.full((1, 3), 0.7))
    s = build(quick(name, steps=2), ("samplers",))
    if name == "ancestral":
        assert set(s(bits, torch.ones(2, 3), Noise(0, samples=2)).unique().tolist()) <= {0.0, 1.0}
        return
    with pytest.raises(UnsuitedError, match="bits"):
        s(bits, torch.ones(2, 3), Noise(0, samples=2))


def test_gddim_is_ancestral_at_one_and_ddim_at_zero(bimodal: MixturePrior) -> None:
    x = random(4, 2)
    for share, other in ((0.0, "ddim(steps=7)"), (1.0, "ancestral(steps=7)")):
        mine = build(f"gddim(steps=7, share={share})", ("samplers",))
        a, b = (s(bimodal, x, Noise(0, samples=4)) for s in (mine, build(other, ("samplers",))))
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_unipc_keeps_what_is_changed_between_its_steps() -> None:
    """As an edit does with a mask: the corrector adds to the states that it is given."""
    prior = on(three_components(), Cosine())
    x, times = random(3, 2), torch.tensor([0.6, 0.5, 0.4], dtype=torch.float64)
    s = UniPC()
    x_s, carry = s.step(prior, x, times[0], times[1], None, None)
    plain, (_, kept, *_) = s.step(prior, x_s, times[1], times[2], carry, None)
    _, (_, moved, *_) = s.step(prior, x_s + 1e-9, times[1], times[2], carry, None)
    torch.testing.assert_close(moved - kept, torch.full_like(x, 1e-9), rtol=0.1, atol=0)
    assert not torch.equal(kept, x_s) and plain.shape == x.shape


def test_the_third_of_dpm_solver_is_the_papers() -> None:
    """DPM-Solver-3 with r_1 = 1/3 and r_2 = 2/3, written out."""
    prior = on(three_components(), Cosine())
    schedule, x = prior.diffusion.schedule, random(3, 2)
    (t, s), *_ = pairs(torch.tensor([0.6, 0.5], dtype=torch.float64))
    lam = [-schedule.ratio(u).log() for u in (t, s)]
    h = lam[1] - lam[0]
    u, v = (schedule.time((-(lam[0] + k * h)).exp()) for k in (1 / 3, 2 / 3))

    def eps(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        return (x - alpha * prior(x, t)) / sigma

    (a_t, _), (a_u, s_u), (a_v, s_v), (a_s, s_s) = (schedule(w) for w in (t, u, v, s))
    e = eps(x, t)
    x_u = a_u / a_t * x - s_u * (h / 3).expm1() * e
    d_u = eps(x_u, u) - e
    x_v = a_v / a_t * x - s_v * (2 * h / 3).expm1() * e
    x_v = x_v - s_v * 2 * ((2 * h / 3).expm1() / (2 * h / 3) - 1) * d_u
    d_v = eps(x_v, v) - e
    x_s = a_s / a_t * x - s_s * h.expm1() * e - s_s * 1.5 * (h.expm1() / h - 1) * d_v
    mine, _ = build("dpm_solver(order=3)", ("samplers",)).step(prior, x, t, s, None, None)
    torch.testing.assert_close(mine, x_s, rtol=1e-10, atol=1e-10)
