"""What multistep and exponential solvers share: one integral of a polynomial through estimates.

With z = x / alpha, r = sigma / alpha and the log-SNR lambda = -log r, the reverse equations of a
Gaussian diffusion are, with eta = 0 for the flow and eta = 1 for the reverse SDE,

    dz = (1 + eta) (E[x_0 | x_t] - z) dlambda + sqrt(2 eta) r dw.

Their linear part is solved exactly. What is left is the integral of an exponential times
E[x_0 | x_t], or times eps = (z - E[x_0 | x_t]) / r for the flow, and that is taken of the
polynomial through a few estimates. Solvers differ in where these estimates are made, and how many.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..bands import in_bands
from ..schedules import Schedule

__all__ = ["Point", "data_step", "integrate", "log_snr", "mean_of_span", "noise_of", "noise_step"]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


class Point(NamedTuple):
    """An estimate, and the log-SNR (or another variable) at which it was made."""

    value: Tensor
    at: float


def log_snr(schedule: Schedule, t: Tensor) -> float:
    """Return log(alpha_t / sigma_t)."""
    return -float(schedule.ratio(t).log())


def noise_of(schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
    """Return the estimate of the noise in x_t, given that of x_0."""
    alpha_t, sigma_t = schedule(t)
    return (x_t - alpha_t * x_0) / sigma_t


def integrate(points: Sequence[Point], start: float, end: float, rate: float) -> Tensor:
    """Return the integral of e^(rate (u - end)) p(u) du, p the polynomial through the points.

    The weights of the estimates are computed by Gauss-Legendre quadrature, which does not cancel
    where the points are near each other.
    """
    half = (end - start) / 2
    u = start + half * (NODES + 1)
    measure = half * WEIGHTS * np.exp(rate * (u - end))
    total: Tensor | float = 0.0
    for i, (value, at) in enumerate(points):
        basis = np.ones_like(u)
        for other in (*points[:i], *points[i + 1 :]):
            basis = basis * (u - other.at) / (at - other.at)
        total = total + float(measure @ basis) * value
    assert isinstance(total, Tensor)
    return total


def mean_of_span(points: Sequence[Point], start: float, end: float, rate: float) -> Tensor:
    """Return the mean of the polynomial under e^(rate u), at the middle of the span for a line.

    The middle is what DPM-Solver++ and UniPC take for two points, to the same order.
    """
    if len(points) == 1:
        return points[0].value
    if len(points) == 2:
        (new, at), (old, before) = points
        return new + ((start + end) / 2 - at) / (at - before) * (new - old)
    mass = -np.expm1(-rate * (end - start)) / rate
    return integrate(points, start, end, rate) / float(mass)


def data_step(
    schedule: Schedule,
    x_t: Tensor,
    points: Sequence[Point],
    t: Tensor,
    s: Tensor,
    eta: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of x_s, from estimates of x_0.

    Arguments:
        points: Estimates of x_0, the newest first.
        eta: Share of the noise of the reverse SDE; at 0 the deviation is 0.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    start, end = log_snr(schedule, t), log_snr(schedule, s)
    h = (alpha_s / sigma_s).log() - (alpha_t / sigma_t).log()
    kept = sigma_s / sigma_t * (-eta * h).exp()

    def mean(x_t: Tensor, *values: Tensor) -> Tensor:
        there = [point._replace(value=value) for point, value in zip(points, values, strict=True)]
        x_0 = mean_of_span(there, start, end, 1 + eta)
        return kept * x_t - alpha_s * (-(1 + eta) * h).expm1() * x_0

    return in_bands(mean, x_t, *(point.value for point in points)), sigma_s * (
        -(-2 * eta * h).expm1()
    ).clamp_min(0).sqrt()


def noise_step(
    schedule: Schedule, x_t: Tensor, points: Sequence[Point], t: Tensor, s: Tensor
) -> Tensor:
    """Return x_s on the flow, from estimates of the noise, the newest first."""
    (alpha_t, _), (alpha_s, sigma_s) = schedule(t), schedule(s)
    change = integrate(points, log_snr(schedule, t), log_snr(schedule, s), -1.0)
    return alpha_s / alpha_t * x_t - sigma_s * change
