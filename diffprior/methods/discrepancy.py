"""The discrepancy principle (Morozov, 1966): the weight of a method by what noise leaves."""

import copy
import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from ..batching import Callback, part_callback
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..priors.base import Prior
from ..random import Noise
from .base import Method
from .dpir import DPIR

__all__ = ["Discrepancy"]

Curve = dict[float, tuple[float, Tensor]]  # log chi2 and state, by the logarithm of the setting


@dataclass(frozen=True, kw_only=True)
class Discrepancy(Method[GaussianLikelihood[Any]]):
    """x(c) = method(setting = c), with the c for which ||y - A x(c)||^2 = m sigma^2.

    A method whose answer leaves less than the noise has fitted the noise; one that leaves more has
    not used all that was measured. Looks at c / span, c and c span, c being the method's own
    setting, then where the logarithm of chi2 would be 0 on the line through the nearest two; each
    sample on its own, from the same noise every time. Costs ``rounds`` runs. Heuristic. "On the
    solution of functional equations by the method of regularization" (Morozov, 1966),
    https://encyclopediaofmath.org/wiki/Ill-posed_problems.

    Arguments:
        method: What is tuned.
        setting: The name of its setting, a positive number.
        rounds: How many values are tried, 3 at the least.
        span: How far the first look goes, as a factor.
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
        if self.start is not None:
            object.__setattr__(self, "method", replace(self.method, start=self.start))
        object.__setattr__(self, "start", self.method.start)
        object.__setattr__(self, "draws", self.method.stochastic)

    @property
    def needs(self) -> tuple[type, type, type]:
        diffusion, _, operator = self.method.needs
        return diffusion, GaussianLikelihood, operator

    def with_steps(self, steps: int) -> Self:
        return replace(self, method=self.method.with_steps(steps))

    def check(self, prior: Prior, likelihood: Likelihood[Any]) -> None:
        super().check(prior, likelihood)
        self.method.check(prior, likelihood)
        if not getattr(likelihood, "sigma", 0) > 0:
            raise ValueError("the discrepancy principle needs noise: give sigma > 0")

    def initial(self, *given: Any) -> Tensor:
        return self.method.initial(*given)

    def run(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[Any],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        c, wide, rows = math.log(getattr(self.method, self.setting)), math.log(self.span), len(x_T)
        found: list[Curve] = [{} for _ in range(rows)]
        for k, at in enumerate((c - wide, c, c + wide)):
            follow = part_callback(callback, k, self.rounds)
            x, fit = self._at(at, prior, likelihood, x_T, noise, follow)
            for i in range(rows):
                found[i][at] = fit[i], x[i]
        for k in range(3, self.rounds):
            for i in range(rows):
                follow = part_callback(part_callback(callback, k, self.rounds), i, rows)
                one = likelihood.select(torch.tensor([i])), x_T[i : i + 1], noise.rows([i])
                at = _zero({place: value for place, (value, _) in found[i].items()}, wide)
                x, fit = self._at(at, prior, *one, follow)
                found[i][at] = fit[0], x[0]
        return torch.stack([min(curve.values(), key=lambda v: abs(v[0]))[1] for curve in found])

    def _at(
        self,
        at: float,
        prior: Prior,
        likelihood: GaussianLikelihood[Any],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None,
    ) -> tuple[Tensor, list[float]]:
        """Return the states at a setting of exp(at), and the logarithm of the chi2 of each."""
        method = replace(self.method, **{self.setting: math.exp(at)})
        x = method.run(prior, likelihood, x_T, copy.deepcopy(noise), callback)
        return x, likelihood.chi2(x).log().tolist()


def _zero(curve: dict[float, float], beyond: float) -> float:
    """Return where a curve, value by place, is 0: between two places, or beyond them all."""
    places = sorted(curve)
    for a, b in zip(places, places[1:], strict=False):
        if curve[a] * curve[b] <= 0:
            return a + (b - a) * curve[a] / (curve[a] - curve[b])
    low, high = places[0], places[-1]
    return low - beyond if abs(curve[low]) < abs(curve[high]) else high + beyond
