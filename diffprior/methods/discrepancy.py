"""The discrepancy principle (Morozov, 1966): tune a method until its residual is the noise."""

import copy
import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from ..batching import Callback, part_callback
from ..likelihoods.gaussian import GaussianLikelihood
from ..priors.base import Prior
from ..random import Noise
from .base import GaussianPosterior, Method, Needs, Posterior
from .dpir import DPIR

__all__ = ["Discrepancy"]

Curve = dict[float, tuple[float, Tensor]]  # log chi2 and state, by the logarithm of the setting


@dataclass(frozen=True, kw_only=True)
class Discrepancy(Method[GaussianLikelihood[Any]]):
    """x(c) = method(setting = c), with the c for which ||y - A x(c)||^2 = m sigma^2.

    An answer whose residual is less than the noise has fitted the noise; one whose residual is
    more has not used all of the data. It tries c / span, c and c span, c being the method's own
    setting, then each time the place where a line through the nearest two values has a chi2 of 1,
    all in logarithms. Each sample has its own c, and the same noise at every try. It costs
    ``rounds`` runs. Heuristic. "On the solution of functional equations by the method of
    regularization" (Morozov, 1966), https://encyclopediaofmath.org/wiki/Ill-posed_problems.

    Arguments:
        start: Of ``method``, in place of its own.
        method: The method to tune.
        setting: The name of the setting to tune, a positive number.
        rounds: How many values to try, at least 3.
        span: The factor between the first values.
    """

    method: Method[Any] = field(default_factory=DPIR)
    setting: str = "weight"
    rounds: int = 6
    span: float = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(getattr(self.method, self.setting, None), float | int):
            raise ValueError(f"{self.method!r} has no setting {self.setting!r} that is a number")
        if self.rounds < 3 or self.span <= 1:
            raise ValueError(
                "the discrepancy principle looks at 3 values or more, by a span over 1"
            )

    @property
    def tuned(self) -> Method[Any]:
        """The method to tune, with the start of this one where it has one."""
        return self.method if self.start is None else replace(self.method, start=self.start)

    @property
    def needs(self) -> Needs:
        return self.method.needs._replace(likelihood=GaussianLikelihood)

    @property
    def stochastic(self) -> bool:
        return self.method.stochastic

    @property
    def takes_guess(self) -> bool:
        return self.tuned.takes_guess

    def start_time(self, prior: Prior) -> float:
        return self.tuned.start_time(prior)

    def with_steps(self, steps: int) -> Self:
        return replace(self, method=self.method.with_steps(steps))

    def at_levels(self, factor: float) -> Self:
        return replace(super().at_levels(factor), method=self.method.at_levels(factor))

    def check(self, p: Posterior[Any]) -> None:
        super().check(p)
        self.method.check(p)
        if not p.likelihood.sigma > 0:
            raise ValueError("the discrepancy principle needs noise: give sigma > 0")

    def initial(
        self, p: Posterior[Any], guess: Tensor | None, images: Tensor, noise: Noise
    ) -> Tensor:
        return self.tuned.initial(p, guess, images, noise)

    def run(self, p: GaussianPosterior, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        c = math.log(getattr(self.method, self.setting))
        wide = math.log(self.span)
        rows = len(x_T)
        curves: list[Curve] = [{} for _ in range(rows)]
        for k, at in enumerate((c - wide, c, c + wide)):
            follow = part_callback(callback, k, self.rounds)
            x, fit = self._at(at, p, x_T, noise, follow)
            for i, curve in enumerate(curves):
                curve[at] = fit[i], x[i]
        for k in range(3, self.rounds):
            for i, curve in enumerate(curves):
                follow = part_callback(part_callback(callback, k, self.rounds), i, rows)
                at = _zero({place: value for place, (value, _) in curve.items()}, wide)
                row = p.select(torch.tensor([i])), x_T[i : i + 1], noise.rows([i])
                x, fit = self._at(at, *row, follow)
                curve[at] = fit[0], x[0]
        return torch.stack([min(curve.values(), key=lambda v: abs(v[0]))[1] for curve in curves])

    def _at(
        self, at: float, p: GaussianPosterior, x_T: Tensor, noise: Noise, callback: Callback
    ) -> tuple[Tensor, list[float]]:
        """Return the states at a setting of exp(at), and the logarithm of the chi2 of each."""
        method = replace(self.tuned, **{self.setting: math.exp(at)})
        x = method.run(p, x_T, copy.deepcopy(noise), callback)
        return x, p.likelihood.chi2(x).log().tolist()


def _zero(curve: dict[float, float], beyond: float) -> float:
    """Return where a curve, value by place, is 0: between two places, or ``beyond`` them all."""
    places = sorted(curve)
    for a, b in zip(places, places[1:], strict=False):
        if curve[a] * curve[b] <= 0:
            return a + (b - a) * curve[a] / (curve[a] - curve[b])
    low = places[0]
    high = places[-1]
    return low - beyond if abs(curve[low]) < abs(curve[high]) else high + beyond
