"""Inversion by any solver of the flow, such as DPM-Solver++: up by it, down by it."""

from dataclasses import dataclass, field

from torch import Tensor

from ..batching import StepCallback
from ..priors.base import Prior
from ..random import Noise
from ..samplers.base import Sampler
from ..samplers.dpm import DPM
from ..validation import Whole
from .base import Code, Inversion, Keep

__all__ = ["FlowInversion"]


@dataclass(frozen=True, kw_only=True)
class FlowInversion(Inversion):
    """x_T = U(x_0); then, round by round, x_T += U(x_0) - U(D(x_T)), until D(x_T) is x_0.

    U and D are the sampler upwards and downwards, inverse to each other up to the order of the
    solver; a round multiplies what is left by that error again. With DPM-Solver++ without rounds it
    is the inversion that goes by its name. The solver's grid and steps are those given here.

    Arguments:
        sampler: A deterministic sampler: ``ddim``, ``dpm`` or ``heun``.
        rounds: Corrections; one costs twice as many calls as the inversion itself.
    """

    sampler: Sampler = field(default_factory=DPM)
    rounds: Whole = 0

    @property
    def calls(self) -> int:
        return self.steps * (1 + 2 * self.rounds)

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        first = x_T = self._walk(prior, x_0, times)
        for _ in range(self.rounds):
            x_T = x_T + first - self._walk(prior, self._walk(prior, x_T, times.flip(0)), times)
        return {"x_T": x_T}

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        return self._walk(prior, code["x_T"], times, each)

    def _walk(
        self, prior: Prior, x: Tensor, times: Tensor, each: StepCallback = lambda x, i: x
    ) -> Tensor:
        carry = None
        for i, (t, s) in enumerate(times.unfold(0, 2, 1)):
            x, carry = self.sampler.step(prior, x, t, s, carry, None)
            x = each(x, i)
        return x
