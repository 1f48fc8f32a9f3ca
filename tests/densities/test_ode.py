"""The adaptive solver against scipy's, and what it does where it cannot go on."""

import math

import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from diffprior.densities.ode import dormand_prince
from diffprior.errors import SettingError

from support.exact import random

START = torch.tensor([1.0, 0.0], dtype=torch.float64)


def pendulum(t: float, y: Tensor) -> Tensor:
    return torch.stack([y[1], -y[0].sin() - 0.1 * y[1] + math.cos(t)])


def scaled(tolerance: float):
    def measure(error: Tensor, before: Tensor, after: Tensor) -> float:
        allowed = tolerance * (1 + before.abs().maximum(after.abs()))
        return (error / allowed).square().mean().sqrt().item()

    return measure


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7])
def test_it_ends_where_scipys_solver_ends(tolerance: float) -> None:
    y, calls = dormand_prince(pendulum, START, 0.0, 10.0, scaled(tolerance))
    truth = solve_ivp(
        lambda t, y: pendulum(t, torch.from_numpy(y)).numpy(),
        (0, 10),
        START.numpy(),
        method="DOP853",
        rtol=1e-12,
        atol=1e-12,
    ).y[:, -1]
    assert abs(y.numpy() - truth).max() < 20 * tolerance
    peer = solve_ivp(
        lambda t, y: pendulum(t, torch.from_numpy(y)).numpy(),
        (0, 10),
        START.numpy(),
        rtol=tolerance,
        atol=tolerance,
    )
    assert calls < 1.2 * peer.nfev


def test_it_is_of_fifth_order() -> None:
    """Steps of a fixed size, which a measure that always accepts keeps growing, cannot be had."""
    errors = []
    for tolerance in (1e-5, 1e-8):
        y, calls = dormand_prince(lambda t, y: y, START, 0.0, 3.0, scaled(tolerance))
        errors.append((calls, abs(y[0].item() - math.exp(3))))
    (few, coarse), (many, fine) = errors
    order = math.log(coarse / fine) / math.log((many - 1) / (few - 1))
    assert 4.5 < order < 6.5


def test_it_goes_back_to_where_it_came_from() -> None:
    there, _ = dormand_prince(pendulum, START, 0.0, 4.0, scaled(1e-9))
    back, _ = dormand_prince(pendulum, there, 4.0, 0.0, scaled(1e-9))
    torch.testing.assert_close(back, START, atol=1e-7, rtol=0)


def test_what_is_too_rough_is_said() -> None:
    noise = iter(random(200_000).tolist())
    with pytest.raises(SettingError, match="the steps of the flow became too small"):
        dormand_prince(lambda t, y: 0 * y + next(noise), START, 0.0, 1.0, scaled(1e-9))
