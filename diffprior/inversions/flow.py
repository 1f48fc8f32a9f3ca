"""Inversion by any solver of the flow, such as DPM-Solver++: up by it, down by it."""

from dataclasses import dataclass, field

from torch import Tensor

from ..batching import StepCallback
from ..errors import SettingError
from ..priors.base import Prior
from ..random import Noise
from ..samplers.base import Sampler
from ..samplers.dpm import DPM
from ..schedules import pairs
from ..validation import Whole, literal
from .base import Code, Inversion, Keep, unchanged

__all__ = ["FlowInversion"]


@dataclass(frozen=True, kw_only=True)
class FlowInversion(Inversion):
    """x_T = U(x_0); then, round by round, x_T += U(x_0) - U(D(x_T)), until D(x_T) is x_0.

    U and D are the sampler upwards and downwards, inverse to each other up to the order of the
    solver; a round multiplies the remaining error by that order again. With DPM-Solver++ and
    no rounds it is DPM-Solver++ inversion. The grid and the steps are those of the inversion, in
    place of the sampler's.

    Arguments:
        sampler: A sampler that draws no noise, such as ``ddim``, ``dpm``, ``heun`` or ``unipc``.
        rounds: Corrections; one costs twice as many calls as the inversion itself.
    """

    sampler: Sampler = field(default_factory=DPM)
    rounds: Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler.draws:
            raise SettingError(
                f"the sampler of flow draws no noise, got {literal(self.sampler)}; "
                "take ddim, dpm, heun or another solver of the flow"
            )

    @property
    def calls(self) -> int:
        return self.steps * (1 + 2 * self.rounds)

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        first = x_T = self._solve(prior, x_0, times)
        for _ in range(self.rounds):
            x_T = x_T + first - self._solve(prior, self._solve(prior, x_T, times.flip(0)), times)
        return {"x_T": x_T}

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        return self._solve(prior, code["x_T"], times, each)

    def _solve(
        self, prior: Prior, x: Tensor, times: Tensor, each: StepCallback = unchanged
    ) -> Tensor:
        carry = None
        for i, (t, s) in enumerate(pairs(times)):
            x, carry = self.sampler.step(prior, x, t, s, carry, None)
            x = each(x, i)
        return x
