"""The variational bound by terms: closed forms of a Gaussian, an enumeration of bits."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from diffprior.densities.bound import (
    Bound,
    bit_log_prob,
    limit_bound,
    point_log_prob,
    variational_bound,
)
from diffprior.densities.levels import to_levels
from diffprior.densities.nonequilibrium import nonequilibrium_bound
from diffprior.diffusions import BernoulliDiffusion, GaussianDiffusion
from diffprior.errors import UnsuitedError
from diffprior.networks.nafunet import NAFUNet
from diffprior.priors.bits import BitsPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.network import NetworkPrior
from diffprior.random import Noise
from diffprior.schedules import Cosine, LinearBeta, Rectified, Schedule, grid

from support.exact import random

N = 1000
V = 0.4  # variance of the Gaussian data
ENTROPY = math.log(2 * math.pi * math.e * V)  # of two such numbers
WIDE = torch.float64


def gaussian(schedule: Schedule | None = None, v: float = V) -> MixturePrior:
    one = torch.ones(1, dtype=WIDE)
    means = torch.zeros(1, 2, dtype=WIDE)
    return MixturePrior(one, means, v * one, GaussianDiffusion(schedule or Cosine()))


def gap(schedule: Schedule, times: Tensor, v: float = V) -> Tensor:
    """Return the mean of each L_{t-1} for the exact denoiser of two numbers N(0, v)."""
    r2 = schedule.ratio(times) ** 2
    return (1 / r2[1:] - 1 / r2[:-1]) * v * r2[:-1] / (v + r2[:-1])


def is_mean(draws: Tensor, expected: Tensor | float) -> bool:
    """Return whether a mean of draws is what it should be, to 4 standard errors."""
    off = (draws.mean(0) - expected) / (draws.std(0) / len(draws) ** 0.5)
    return bool(off.abs().max() < 4)


@pytest.fixture(scope="module")
def x_0() -> Tensor:
    return gaussian().sample(Noise(1, range(N)))


@pytest.mark.parametrize("schedule", [Cosine(), Rectified()], ids=["Cosine", "Rectified"])
def test_every_term_of_a_gaussian(x_0: Tensor, schedule: Schedule) -> None:
    times = grid(schedule, "logsnr", 20)
    prior = gaussian(schedule)
    bound = variational_bound(prior, x_0, times, Noise(2, range(N)), point_log_prob)
    alpha, sigma = schedule(times[0])
    r2 = schedule.ratio(times[-1]) ** 2
    last = (2 * math.pi * r2).log() + V / (V + r2)
    assert is_mean(bound.first, alpha**2 * V / sigma**2)
    assert is_mean(bound.steps, gap(schedule, times))
    assert is_mean(bound.last, last)
    assert is_mean(bound.errors, V * schedule.ratio(times) ** 2 / (V + schedule.ratio(times) ** 2))
    torch.testing.assert_close(bound.bits, bound.total / (2 * math.log(2)))


def test_the_limit_is_the_entropy(x_0: Tensor) -> None:
    """A bound of infinitely many steps with the exact denoiser has no gap."""
    bound = limit_bound(gaussian(), x_0, 20, Noise(2, range(N)), point_log_prob)
    assert is_mean(bound.total, ENTROPY) and bound.total.std() / N**0.5 < 0.2
    mixed = MixturePrior(
        torch.tensor([0.6, 0.4], dtype=WIDE),
        1.5 * random(2, 2),
        torch.tensor([0.1, 0.2], dtype=WIDE),
    )
    x = mixed.sample(Noise(3, range(N)))
    total = limit_bound(mixed, x, 30, Noise(4, range(N)), point_log_prob).total
    assert is_mean(total + mixed.log_prob(x), 0.0)


def test_a_step_is_the_error_times_the_gain_of_signal() -> None:
    """Whatever the denoiser: eq. 13 of Variational Diffusion Models."""
    prior, schedule = network(), network().diffusion.schedule
    times = grid(schedule, "karras", 6)
    x = to_levels(0.4 * random(2, 1, 8, 8, dtype=torch.float32))
    bound = variational_bound(prior, x, times, Noise(0, "ab"))
    snr = schedule.ratio(times) ** -2
    torch.testing.assert_close(
        bound.steps, 64 * bound.errors[:, :-1] * (snr[1:] - snr[:-1]) / 2, rtol=1e-3, atol=1e-4
    )


def test_the_first_term_at_the_betas_of_ddpm() -> None:
    """About 1e-5 bits per dimension, as the paper says, for pixels of any brightness."""
    x = torch.linspace(-1, 1, 256, dtype=WIDE)[None]
    prior = MixturePrior(
        torch.ones(1, dtype=WIDE),
        torch.zeros(1, 256, dtype=WIDE),
        torch.ones(1, dtype=WIDE),
        GaussianDiffusion(LinearBeta()),
    )
    bound = variational_bound(prior, x, grid(LinearBeta(), "time", 2), Noise(0))
    assert bound.first.item() / (256 * math.log(2)) == pytest.approx(1.04e-5, rel=0.02)


def network() -> NetworkPrior:
    torch.manual_seed(0)
    net = NAFUNet((8, 8), (1, 1), image_channels=1, size=8)
    for parameter in net.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return NetworkPrior.of(net)


def rows(bound: Bound) -> Tensor:
    return torch.cat([bound.first[:, None], bound.steps, bound.last[:, None], bound.errors], 1)


def test_a_row_is_what_it_is_alone() -> None:
    prior, x = network(), to_levels(0.5 * random(3, 1, 8, 8, dtype=torch.float32))
    times = grid(prior.diffusion.schedule, "logsnr", 3)
    whole = rows(variational_bound(prior, x, times, Noise(0, "abc")))
    alone = rows(variational_bound(prior, x[1:2], times, Noise(0, "b")))
    assert torch.equal(whole[1:2], alone)
    whole = rows(limit_bound(prior, x, 3, Noise(0, "abc")))
    assert torch.equal(whole[2:], rows(limit_bound(prior, x[2:], 3, Noise(0, "c"))))


def test_the_curve_of_rate_and_distortion(x_0: Tensor) -> None:
    """It ends at the bound without an error, and tells on the way what a Gaussian has to tell."""
    times = grid(Cosine(), "logsnr", 30)
    bound = variational_bound(gaussian(), x_0, times, Noise(2, range(N)), point_log_prob)
    curve = bound.curve()
    torch.testing.assert_close(curve.rate[:, -1], bound.bits)
    assert (curve.distortion[:, -1] == 0).all()
    assert (curve.rate[:, :-1].diff(dim=1) >= 0).all()
    error = curve.distortion.square().mean(0).sqrt() / 127.5
    assert (error.diff() < 0.01).all()
    half = (error[:-1] ** 2 - V / 4).abs().argmin()  # two bits less of variance: one bit of rate
    assert curve.rate.mean(0)[half].item() == pytest.approx(1, abs=0.25)


# Bits, of which every sequence can be looked at


def sequences(d: int) -> np.ndarray:
    return np.array(list(product([0.0, 1.0], repeat=d)))


def flips(x: np.ndarray, y: np.ndarray, keep: float) -> np.ndarray:
    """Return q(y | x) of whole sequences, whose bits stay with weight ``keep``, ``(x, y)``."""
    same = (x[:, None] == y[None]).astype(float)
    return (same * (1 + keep) / 2 + (1 - same) * (1 - keep) / 2).prod(-1)


def entropy(p: np.ndarray) -> float:
    return -(p * np.log(p)).sum()


class Enumerated:
    """All that is sampled elsewhere, summed over all pairs of sequences."""

    def __init__(self, prior: BitsPrior, times: Tensor) -> None:
        self.x = sequences(prior.shape[0])
        weights, probs = prior.log_weights.exp().numpy(), prior.probs.numpy()
        each = np.where(self.x[:, None] == 1, probs[None], 1 - probs[None]).prod(-1)
        self.p = each @ weights
        self.alphas = prior.diffusion.schedule(times)[0].numpy()

    def steps(self) -> list[float]:
        """Return the mean of KL(q(x_s | x_t, x_0), p(x_s | x_t)) of each step."""
        x, p = self.x, self.p
        means = []
        for alpha_t, alpha_s in zip(self.alphas, self.alphas[1:], strict=False):
            q_t = flips(x, x, alpha_t)  # (x_0, x_t)
            q_s = flips(x, x, alpha_s)
            back = q_s[:, None] * flips(x, x, alpha_t / alpha_s).T[None] / q_t[..., None]
            joint = p[:, None] * q_t  # (x_0, x_t)
            of_t = (joint[..., None] * back).sum(0) / joint.sum(0)[:, None]  # q(x_s | x_t)
            ones = of_t @ x  # the marginals of its bits, (x_t, d)
            bits = np.where(x[None] == 1, ones[:, None], 1 - ones[:, None]).prod(-1)
            means.append((joint[..., None] * back * np.log(back / bits[None])).sum())
        return means

    def bound_of_2015(self) -> float:
        ends = [
            (self.p * [entropy(q) for q in flips(self.x, self.x, a)]).sum()
            for a in (self.alphas[0], self.alphas[-1])
        ]
        return ends[0] - ends[1] - self.x.shape[1] * math.log(2) - sum(self.steps())


@pytest.fixture(scope="module")
def bits() -> BitsPrior:
    """Three bits that hang together."""
    probs = torch.tensor([[0.9, 0.8, 0.1], [0.1, 0.3, 0.95]], dtype=WIDE)
    return BitsPrior(torch.tensor([0.6, 0.4], dtype=WIDE), probs, BernoulliDiffusion(Cosine()))


def drawn(prior: BitsPrior) -> Tensor:
    """Return exact draws of a prior of three bits."""
    x = torch.from_numpy(sequences(3))
    u = Noise(5, range(N)).uniform(torch.empty(N, 1, dtype=WIDE))
    return x[torch.searchsorted(prior.log_prob(x).exp().cumsum(0), u).squeeze(1).clamp_max(7)]


def test_the_steps_of_bits_are_those_of_an_enumeration(bits: BitsPrior) -> None:
    times = grid(Cosine(), "time", 6)[:-1]
    x = drawn(bits)
    bound = variational_bound(bits, x, times, Noise(6, range(N)), bit_log_prob)
    assert is_mean(bound.steps, torch.tensor(Enumerated(bits, times).steps()))
    assert bound.total.mean() > -bits.log_prob(x).mean()


def test_the_bound_of_2015_for_bits(bits: BitsPrior) -> None:
    times = grid(Cosine(), "time", 6)[:-1]
    exact = Enumerated(bits, times)
    assert exact.bound_of_2015() < -entropy(exact.p)
    k = nonequilibrium_bound(bits, drawn(bits), times, Noise(7, range(N)))
    assert is_mean(k, exact.bound_of_2015())
    many = Enumerated(bits, grid(Cosine(), "time", 4000)[:-1])
    assert many.bound_of_2015() == pytest.approx(-entropy(many.p), abs=2e-3)


def test_the_bound_of_2015_for_the_heartbeat() -> None:
    """A 1 at every fifth of 20 bits, in five phases: log2 5 bits, and the paper's K is -2.414."""
    patterns = torch.eye(5, dtype=WIDE).repeat(1, 4)
    prior = BitsPrior(torch.ones(5, dtype=WIDE), patterns.clamp(1e-6, 1 - 1e-6))
    x = patterns.repeat(100, 1)
    times = grid(prior.diffusion.schedule, "time", 100)[:-1]
    k = nonequilibrium_bound(prior, x, times, Noise(0, range(len(x)))) / math.log(2)
    assert is_mean(k, -2.375) and k.std() / len(x) ** 0.5 < 0.03
    assert k.mean() < -math.log2(5)


def test_the_bound_of_2015_for_a_gaussian() -> None:
    """K is -H(x_1) less the closed form of the gap; with unit variance H(x_1) is H(x_0)."""
    prior = gaussian(v=1.0)
    times = grid(Cosine(), "logsnr", 30)[:-1]
    x = prior.sample(Noise(1, range(N)))
    k = nonequilibrium_bound(prior, x, times, Noise(2, range(N)))

    def entropy_at(t: Tensor) -> Tensor:
        alpha, sigma = Cosine()(t)
        return (2 * math.pi * math.e * (alpha**2 + sigma**2)).log()

    excess = (gap(Cosine(), times, 1.0) - information(times)).sum()
    assert is_mean(k, -entropy_at(times[-1]) - excess)
    assert entropy_at(times[-1]).item() == pytest.approx(math.log(2 * math.pi * math.e), abs=1e-4)


def information(times: Tensor) -> Tensor:
    """Return what x_s tells of x_0 ~ N(0, I_2) beyond x_t, for each step: the least of L_{t-1}."""
    return (1 + Cosine().ratio(times) ** -2).log().diff()


def test_the_limit_is_one_of_gaussian_noise(bits: BitsPrior) -> None:
    with pytest.raises(UnsuitedError, match="needs Gaussian noise"):
        limit_bound(bits, drawn(bits)[:1], 4, Noise(0), bit_log_prob)
