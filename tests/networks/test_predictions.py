"""Predictions: every arrow from one kind to another, on a Gaussian whose answers are known."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from diffprior.errors import SettingError
from diffprior.networks.predictions import PREDICTIONS, Place, Prediction, convert
from diffprior.schedules import EDM, Cosine, Geometric, LinearBeta, Rectified, Schedule

from support.exact import random

VAR, MEAN = 0.3, 0.7  # of the data
SCHEDULES = {  # variance preserving, exploding, the straight path, and one of neither kind
    "vp": LinearBeta(),
    "cosine": Cosine(),
    "ve": Geometric(),
    "edm": EDM(),
    "flow": Rectified(),
}


def answers(x_t: Tensor, schedule: Schedule, t: Tensor, s: Tensor) -> dict[str, Tensor]:
    """Return every prediction from the joint law of (x_0, x_s, x_t), each by a way of its own."""
    (a, sigma), (a_s, sigma_s) = schedule(t), schedule(s)
    var = a**2 * VAR + sigma**2
    x = x_t.clone().requires_grad_()
    log_p = torch.distributions.Normal(a * MEAN, var.sqrt()).log_prob(x).sum()
    (score,) = torch.autograd.grad(log_p, x)
    centered = x_t - a * MEAN
    # of Gaussians: E[u | x_t] = E[u] + cov(u, x_t) / var(x_t) (x_t - E[x_t])
    x_0 = MEAN + a * VAR / var * centered
    eps = sigma / var * centered
    # of x_s: cov(x_s, x_t) = (alpha_t / alpha_s) var(x_s), as x_t is x_s scaled and noised
    mu = a_s * MEAN + a / a_s * (a_s**2 * VAR + sigma_s**2) / var * centered
    # of the flow, m(t) + std(t) z for a fixed z: a finite difference
    h = 1e-6
    (a_0, sigma_0), (a_1, sigma_1) = schedule(t - h), schedule(t + h)
    z = centered / var.sqrt()
    ends = [
        a * MEAN + (a**2 * VAR + sigma**2).sqrt() * z
        for a, sigma in ((a_0, sigma_0), (a_1, sigma_1))
    ]
    velocity = (ends[1] - ends[0]) / (2 * h)
    v = a * eps - sigma * x_0
    return {"x_0": x_0, "epsilon": eps, "v": v, "score": score, "velocity": velocity, "mu": mu}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("source, target", permutations(PREDICTIONS, 2))
def test_every_arrow_is_exact(name: str, source: Prediction, target: Prediction) -> None:
    schedule = SCHEDULES[name]
    t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)[:, None]
    s = t - 0.1
    x_t = schedule(t)[1] * random(3, 4) + schedule(t)[0] * MEAN
    known = answers(x_t, schedule, t, s)
    got = convert(known[source], source, target, x_t, Place.at(schedule, t, s))
    # a velocity by differences is good to 1e-7 or so, and x_0 from it divides by a small number
    bound = 1e-4 if source == "velocity" else 1e-6 if target == "velocity" else 1e-9
    scale = known[target].abs().max(1, keepdim=True).values
    assert ((got - known[target]).abs() <= bound * scale).all()


def test_what_is_of_the_kind_stays_to_the_bit() -> None:
    x_t, value = random(2, 3), random(2, 3, seed=1)
    place = Place.at(Cosine(), torch.tensor(0.3))
    for kind in PREDICTIONS[:-1]:
        assert torch.equal(convert(value, kind, kind, x_t, place), value)


def test_on_the_straight_path_the_velocity_is_noise_less_the_image() -> None:
    x_0, eps, s = random(2, 3), random(2, 3, seed=1), torch.tensor(0.4, dtype=torch.float64)
    x_t = (1 - s) * x_0 + s * eps
    got = convert(eps, "epsilon", "velocity", x_t, Place(alpha=1 - s, sigma=s))
    torch.testing.assert_close(got, eps - x_0, rtol=1e-12, atol=1e-12)


def test_a_wrong_question_is_one_sentence() -> None:
    x, place = random(1, 2), Place.at(Cosine(), torch.tensor(0.3))
    with pytest.raises(SettingError, match="mu is the mean of an earlier state"):
        convert(x, "epsilon", "mu", x, place)
    with pytest.raises(SettingError, match="no prediction 'noise'; there are x_0, epsilon"):
        convert(x, "noise", "x_0", x, place)  # type: ignore[arg-type]
