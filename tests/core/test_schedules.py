"""Every schedule is what its formula says, and every grid is even in what it names."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from diffprior.schedules import (
    EDM,
    Cosine,
    Geometric,
    Grid,
    LinearBeta,
    Rectified,
    Schedule,
    Tabulated,
    grid,
)

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
DDPM = (1 - BETAS).cumprod(0)
T = torch.linspace(0, 1, 1001, dtype=torch.float64)
PRESERVING = [LinearBeta(), Cosine(), Tabulated(alphas_cumprod=DDPM)]
EXPLODING = [Geometric(), EDM()]
SCHEDULES = [*PRESERVING, *EXPLODING, Rectified()]

parametrize = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


@pytest.mark.parametrize("schedule", PRESERVING, ids=lambda s: type(s).__name__)
def test_variance_is_preserved(schedule: Schedule) -> None:
    alpha, sigma = schedule(T)
    expected = torch.full_like(T, 1 + 1e-3**2)
    torch.testing.assert_close(alpha**2 + sigma**2, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("schedule", EXPLODING, ids=lambda s: type(s).__name__)
def test_variance_explodes_between_its_two_levels(schedule: Geometric | EDM) -> None:
    alpha, sigma = schedule(T)
    assert (alpha == 1).all()
    ends = torch.tensor([schedule.sigma_min, schedule.sigma_max], dtype=torch.float64)
    torch.testing.assert_close(sigma[[0, -1]], ends, rtol=1e-12, atol=0)


def test_rectified_is_straight() -> None:
    alpha, sigma = Rectified(floor=1e-2)(T)
    torch.testing.assert_close(alpha + sigma, torch.full_like(T, 1.01), rtol=0, atol=1e-14)
    torch.testing.assert_close(sigma, 0.01 + 0.99 * T, rtol=0, atol=1e-14)


def test_geometric_and_edm_are_even_in_their_own_scale() -> None:
    log = Geometric()(T)[1].log().diff()
    power = (EDM()(T)[1] ** (1 / 7)).diff()
    torch.testing.assert_close(log, log.mean().expand_as(log), rtol=1e-9, atol=0)
    torch.testing.assert_close(power, power.mean().expand_as(power), rtol=1e-9, atol=0)


@parametrize
def test_noise_only_grows_and_neither_end_is_zero(schedule: Schedule) -> None:
    alpha, sigma = schedule(T)
    assert (schedule.ratio(T).diff() > 0).all()
    assert alpha.min() > 0 and sigma.min() > 0


@parametrize
def test_time_inverts_ratio(schedule: Schedule) -> None:
    torch.testing.assert_close(schedule.time(schedule.ratio(T)), T, rtol=0, atol=1e-9)
    assert schedule.time(0.0) < 1e-9 and schedule.time(1e9) == 1.0


@parametrize
def test_dtype_of_the_time_is_kept(schedule: Schedule) -> None:
    alpha, sigma = schedule(T.float())
    assert alpha.dtype == sigma.dtype == torch.float32 and alpha.shape == sigma.shape == T.shape


def test_linear_beta_is_the_limit_of_ddpm() -> None:
    """The product of 1000 factors against the exponential of their integral.

    -log(1 - beta) = beta + beta^2 / 2 + ..., and the sum of beta^2 / 2 is 0.067 at the end, half a
    step of the mid-point adds 0.01: log alpha^2 agrees to 0.08 of 10, alpha itself to 2e-3.
    """
    alpha, _ = LinearBeta()(T[1:])
    assert (2 * alpha.log() - DDPM.log()).abs().max() < 0.08
    assert (alpha - DDPM.sqrt()).abs().max() < 2e-3


@pytest.mark.parametrize("n", [10, 1000])
def test_tabulated_reproduces_its_table(n: int) -> None:
    table = (1 - torch.linspace(1e-4, 0.02, n, dtype=torch.float64)).cumprod(0)
    schedule = Tabulated(alphas_cumprod=table)
    t = torch.arange(1, n + 1, dtype=torch.float64) / n
    alpha, sigma = schedule(t)
    torch.testing.assert_close(alpha**2, table, rtol=1e-10, atol=0)
    torch.testing.assert_close(sigma**2, 1 - table + 1e-6, rtol=1e-9, atol=0)


def test_tabulated_is_log_linear_between_steps_and_clean_at_zero() -> None:
    """The first step of a table is noise of its own; a chain that ended there would keep it."""
    schedule = Tabulated(alphas_cumprod=DDPM)
    alpha, sigma = schedule(torch.tensor([0.0, 1.5e-3], dtype=torch.float64))
    assert alpha[0] == 1 and abs(sigma[0] - 1e-3) < 1e-15
    assert abs(alpha[1] ** 2 - (DDPM[0] * DDPM[1]).sqrt()) < 1e-12


def test_tabulated_survives_a_table_that_ends_in_no_signal_at_all() -> None:
    """rescale_betas_zero_snr ends at alpha = 0 exactly."""
    table = DDPM.clone()
    table[-1] = 0
    alpha, sigma = Tabulated(alphas_cumprod=table)(T)
    assert (sigma / alpha).isfinite().all() and alpha[-1] <= 1e-4


def even(values: Tensor) -> None:
    steps = values.diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps), rtol=1e-6, atol=1e-9)


@parametrize
@pytest.mark.parametrize("ends", [(1.0, 0.0), (0.8, 0.1), (0.0, 1.0)], ids=str)
def test_grids_are_even_in_what_they_name(schedule: Schedule, ends: tuple[float, float]) -> None:
    times = {kind: grid(schedule, kind, 20, *ends) for kind in get_args(Grid)}
    for t in times.values():
        assert t.dtype == torch.float64 and t.shape == (21,)
        assert t[0] == ends[0] and t[-1] == ends[1]
    even(times["time"])
    even(schedule.ratio(times["logsnr"]).log())
    even(schedule.ratio(times["karras"]) ** (1 / 7))
    for kind, power in (("vp", 1), ("quad", 2)):
        inner = schedule.ratio(times[kind])[1:-1]  # the ends may lie outside of DDPM's
        even(LinearBeta().time(inner) ** power)


def test_an_unknown_grid_is_one_sentence() -> None:
    with pytest.raises(
        ValueError,
        match=r"^no time grid 'cosine'; there are time, logsnr, karras, vp, quad$",
    ):
        grid(Cosine(), "cosine", 10)  # type: ignore[arg-type]
