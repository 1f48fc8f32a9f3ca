"""EDICT (Wallace et al., 2023): two coupled chains, each step of which has an exact inverse."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from ..batching import StepCallback
from ..priors.base import Prior
from ..random import Noise
from ..schedules import pairs
from ..validation import Within
from .base import Code, Inversion, Keep, flow_coefficients, predict_eps

__all__ = ["EDICT"]


@dataclass(frozen=True, kw_only=True)
class EDICT(Inversion):
    """x' = a x + b eps(y), y' = a y + b eps(x'), then x = p x' + (1 - p) y', y = p y' + (1 - p) x.

    Each line can be solved for what it changed, so the way up is exact, up to rounding, which 1 / p
    amplifies step by step. In every other step y' comes first, as in the authors' code: eps(x') is
    late by a step, and an edit would drift. "EDICT: Exact Diffusion Inversion via Coupled
    Transformations", https://arxiv.org/abs/2211.12446.

    Arguments:
        p: Share of its own state that a chain keeps when the two are mixed.
    """

    p: Annotated[float, Within(0.5, 1, above=True)] = 0.93

    @property
    def calls(self) -> int:
        return 2 * self.steps

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        x = y = x_0
        for i, (s, t) in enumerate(pairs(times)):
            a, b = flow_coefficients(prior, t, s)
            y = (y - (1 - self.p) * x) / self.p
            x = (x - (1 - self.p) * y) / self.p
            x, y = (x, y) if (self.steps - 1 - i) % 2 == 0 else (y, x)
            y = (y - b * predict_eps(prior, x, t)) / a
            x = (x - b * predict_eps(prior, y, t)) / a
            x, y = (x, y) if (self.steps - 1 - i) % 2 == 0 else (y, x)
        return {"x_T": x, "y_T": y}

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        x, y = code["x_T"], code["y_T"]
        for i, (t, s) in enumerate(pairs(times)):
            a, b = flow_coefficients(prior, t, s)
            x, y = (x, y) if i % 2 == 0 else (y, x)
            x = a * x + b * predict_eps(prior, y, t)
            y = a * y + b * predict_eps(prior, x, t)
            x, y = (x, y) if i % 2 == 0 else (y, x)
            x = each(self.p * x + (1 - self.p) * y, i)
            y = each(self.p * y + (1 - self.p) * x, i)
        return x
