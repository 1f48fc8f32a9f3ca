"""Predictions: what a network may say of a noisy state, and how one is turned into another."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import SettingError
from ..schedules import Schedule
from ..validation import literal

__all__ = ["PREDICTIONS", "Place", "Prediction", "convert"]

Prediction = Literal["x_0", "epsilon", "v", "score", "velocity", "mu"]
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Where a state x_t = alpha x_0 + sigma eps stands in the diffusion.

    All are tensors whose shapes broadcast to that of the states.

    Arguments:
        alpha, sigma: The share of the signal, and the standard deviation of the noise.
        alpha_rate, sigma_rate: Their derivatives by time; by default those of the straight path
            (1 - t) x_0 + t eps.
        earlier: alpha and sigma at an earlier time s, which ``mu`` needs.
    """

    alpha: Tensor
    sigma: Tensor
    alpha_rate: Tensor | float = -1.0
    sigma_rate: Tensor | float = 1.0
    earlier: tuple[Tensor, Tensor] | None = None

    @classmethod
    def at(cls, schedule: Schedule, t: Tensor, s: Tensor | None = None) -> "Place":
        """Return the place of time t, whose earlier time is s. The rates are those of the schedule.

        Arguments:
            t, s: Times in [0, 1], of shapes that broadcast to that of the states.
        """
        time = t.detach().clone().requires_grad_()
        with torch.enable_grad():
            values = schedule(time)
            rates = [_rate(value, time) for value in values]
        return cls(
            alpha=values[0].detach(),
            sigma=values[1].detach(),
            alpha_rate=rates[0],
            sigma_rate=rates[1],
            earlier=None if s is None else schedule(s),
        )


def convert(
    value: Tensor, source: Prediction, target: Prediction, x_t: Tensor, place: Place
) -> Tensor:
    """Return a prediction as one of another kind, of the shape of ``x_t``.

    Each is a x_0 + b x_t, with x_0 for E[x_0 | x_t], so that x_0 = (value - b x_t) / a:

    - ``x_0``: the mean E[x_0 | x_t] itself
    - ``epsilon``: (x_t - alpha x_0) / sigma
    - ``v``: alpha epsilon - sigma x_0
    - ``score``: (alpha x_0 - x_t) / sigma^2, the gradient of log p(x_t), by Tweedie's formula
    - ``velocity``: alpha' x_0 + sigma' epsilon, that of the probability flow; epsilon - x_0 on the
      straight path
    - ``mu``: E[x_s | x_t] = alpha_s x_0 + (alpha sigma_s^2 / (alpha_s sigma^2)) (x_t - alpha x_0)

    Arguments:
        value: The prediction, of the shape of ``x_t``.
        source, target: What it is, and what it is to be.
        x_t: The noisy states.
        place: Their alpha and sigma.

    Raises:
        SettingError: If there is no such prediction, or ``mu`` has no earlier time.
    """
    a, b = _weights(source, place)
    if source == target:
        return value
    c, d = _weights(target, place)
    return c / a * (value - b * x_t) + d * x_t


def _weights(kind: Prediction, place: Place) -> tuple[Tensor, Tensor]:
    """Return a and b of a prediction a x_0 + b x_t."""
    alpha, sigma = place.alpha, place.sigma
    if kind == "x_0":
        return torch.ones_like(alpha), torch.zeros_like(alpha)
    if kind == "epsilon":
        return -alpha / sigma, 1 / sigma
    if kind == "v":
        return -(alpha**2 + sigma**2) / sigma, alpha / sigma
    if kind == "score":
        return alpha / sigma**2, -1 / sigma**2
    if kind == "velocity":
        growth = place.sigma_rate / sigma
        return place.alpha_rate - growth * alpha, growth
    if kind == "mu":
        return _mu_weights(place)
    raise SettingError(f"no prediction {literal(kind)}; there are {', '.join(PREDICTIONS)}")


def _mu_weights(place: Place) -> tuple[Tensor, Tensor]:
    if place.earlier is None:
        raise SettingError("mu is the mean of an earlier state: its place needs an earlier time")
    alpha_s, sigma_s = place.earlier
    share = place.alpha * sigma_s**2 / (alpha_s * place.sigma**2)
    return alpha_s - share * place.alpha, share


def _rate(value: Tensor, time: Tensor) -> Tensor:
    """Return the derivative of a schedule by time; zero where it does not depend on time."""
    if not value.requires_grad:
        return torch.zeros_like(time)
    (rate,) = torch.autograd.grad(value.sum(), time, retain_graph=True, allow_unused=True)
    return torch.zeros_like(time) if rate is None else rate
