"""Forward kernels compose (Chapman-Kolmogorov), and bridges are Bayes' rule."""

import itertools

import pytest
import torch
from torch import Tensor

from diffprior.diffusions import BernoulliDiffusion, GaussianDiffusion
from diffprior.schedules import EDM, Cosine, Geometric, LinearBeta, Rectified

from support.exact import random

GAUSSIAN = [GaussianDiffusion(s) for s in (Cosine(), LinearBeta(), Geometric(), EDM(), Rectified())]
PAIRS = [(0.0, 0.01), (0.2, 0.7), (0.9, 1.0), (0.0, 1.0)]

parametrize = pytest.mark.parametrize(
    "diffusion", GAUSSIAN, ids=lambda d: type(d.schedule).__name__
)
pairs = pytest.mark.parametrize("pair", PAIRS, ids=str)


def times(pair: tuple[float, float]) -> tuple[Tensor, Tensor]:
    s, t = torch.tensor(pair, dtype=torch.float64)
    return s, t


@parametrize
@pairs
def test_noise_then_jump_is_noise(diffusion: GaussianDiffusion, pair) -> None:
    s, t = times(pair)
    x_0 = random(2, 3)
    at_s, at_t = diffusion.noise(x_0, s), diffusion.noise(x_0, t)
    jump, zero = diffusion.jump(at_s.loc, s, t), diffusion.jump(torch.zeros_like(x_0), s, t)
    slope = diffusion.jump(torch.ones_like(x_0), s, t).loc
    assert zero.loc.abs().max() == 0 and jump.var >= 0
    torch.testing.assert_close(jump.loc, at_t.loc)
    torch.testing.assert_close((slope**2 * at_s.var + jump.var)[0, 0], at_t.var)


@parametrize
@pairs
def test_bridge_is_bayes(diffusion: GaussianDiffusion, pair) -> None:
    """log q(x_s | x_t, x_0) = log q(x_s | x_0) + log q(x_t | x_s) - log q(x_t | x_0)."""
    s, t = times(pair)
    x_0, z = random(5, 3), random(5, 3, seed=1)
    x_t = diffusion.noise(x_0, t).loc + diffusion.noise(x_0, t).var.sqrt() * z
    bridge = diffusion.bridge(x_t, x_0, t, s)
    x_s = bridge.loc + bridge.var.sqrt() * random(5, 3, seed=2)
    bayes = diffusion.noise(x_0, s).log_prob(x_s) + diffusion.jump(x_s, s, t).log_prob(x_t)
    bayes = bayes - diffusion.noise(x_0, t).log_prob(x_t)
    torch.testing.assert_close(bridge.log_prob(x_s), bayes, rtol=1e-6, atol=1e-4)


@parametrize
@pairs
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_every_eta_has_the_marginals_of_the_forward_process(
    diffusion: GaussianDiffusion, pair, eta: float
) -> None:
    """x_t ~ q(x_t | x_0), x_s ~ bridge: x_s ~ q(x_s | x_0), mean and variance exactly."""
    s, t = times(pair)
    x_0 = random(2, 3)
    at_t, at_s = diffusion.noise(x_0, t), diffusion.noise(x_0, s)
    center = diffusion.bridge(at_t.loc, x_0, t, s, eta)
    slope = (diffusion.bridge(at_t.loc + at_t.var.sqrt(), x_0, t, s, eta).loc - center.loc)[0, 0]
    torch.testing.assert_close(center.loc, at_s.loc)
    torch.testing.assert_close(slope**2 + center.var, at_s.var, rtol=1e-6, atol=1e-15)


@parametrize
def test_eta_zero_is_a_map_that_runs_both_ways(diffusion: GaussianDiffusion) -> None:
    s, t = times((0.3, 0.8))
    x_0, x_t = random(2, 3), random(2, 3, seed=1)
    down = diffusion.bridge(x_t, x_0, t, s, 0.0)
    up = diffusion.bridge(down.loc, x_0, s, t, 0.0)
    assert down.var == 0 and up.var == 0
    torch.testing.assert_close(up.loc, x_t)


@parametrize
def test_terminal_is_the_noise_at_the_top(diffusion: GaussianDiffusion) -> None:
    kernel = diffusion.terminal((4, 2))
    one = torch.ones((), dtype=torch.float64)
    assert kernel.loc.shape == (4, 2) and kernel.loc.abs().max() == 0
    torch.testing.assert_close(kernel.var, diffusion.noise(random(1, 2), one).var)


BITS = BernoulliDiffusion()


def bits(value: float) -> Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.parametrize("pair", [(0.1, 0.2), (0.4, 0.7), (0.6, 0.95)], ids=str)
@pytest.mark.parametrize("x_0", [0.0, 1.0])
def test_bits_compose_and_bridge_by_enumeration(pair, x_0: float) -> None:
    s, t = times(pair)
    for x_t in (0.0, 1.0):
        joint = torch.stack(
            [
                BITS.noise(bits(x_0), s).log_prob(bits(x_s))
                + BITS.jump(bits(x_s), s, t).log_prob(bits(x_t))
                for x_s in (0.0, 1.0)
            ]
        )
        total = BITS.noise(bits(x_0), t).log_prob(bits(x_t))
        torch.testing.assert_close(joint.logsumexp(0), total, rtol=0, atol=1e-6)
        bridge = BITS.bridge(bits(x_t), bits(x_0), t, s).mean[0]
        torch.testing.assert_close(bridge, joint.softmax(0)[1], rtol=0, atol=1e-6)


def test_a_bridge_of_bits_is_linear_in_the_belief() -> None:
    """E over x_0 ~ Bernoulli(p) of the bridge: what a denoiser's mean stands for."""
    s, t = times((0.3, 0.6))
    for x_t, p in itertools.product((0.0, 1.0), (0.2, 0.7)):
        zero, one = (BITS.bridge(bits(x_t), bits(x_0), t, s).mean for x_0 in (0.0, 1.0))
        mixed = BITS.bridge(bits(x_t), bits(p), t, s).mean
        torch.testing.assert_close(mixed, p * one + (1 - p) * zero)


def test_bits_begin_as_coin_flips_and_refuse_eta() -> None:
    assert (BITS.terminal((2, 3)).mean == 0.5).all()
    s, t = times((0.3, 0.6))
    with pytest.raises(ValueError, match="^bits have no eta but 1"):
        BITS.bridge(bits(0.0), bits(1.0), t, s, 0.5)
