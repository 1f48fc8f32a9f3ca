"""Negative-prompt inversion (Miyake et al., 2023): an edit guided away from the source."""

from dataclasses import dataclass

from torch import Tensor

from ..batching import StepCallback
from ..priors.base import Prior
from ..random import Noise
from ..validation import Whole
from .base import Code, Inversion, Keep
from .ddim_inversion import DDIMInversion

__all__ = ["NegativePrompt"]


@dataclass(frozen=True, kw_only=True)
class NegativePrompt(Inversion):
    """x_0 = x_0(source) + w (x_0(target) - x_0(source)), down from the code of DDIM inversion.

    The source's condition takes the place of the empty one in classifier-free guidance. So at any w
    an edit to the source itself is DDIM's round trip. It works with classes and with prompts.
    "Negative-prompt Inversion: Fast Image Inversion for Editing with Text-guided Diffusion Models",
    https://arxiv.org/abs/2305.16807.

    Arguments:
        rounds: As of ``ddim_inversion``.
    """

    rounds: Whole = 0

    @property
    def calls(self) -> int:
        return self._ddim.calls

    @property
    def _ddim(self) -> DDIMInversion:
        return DDIMInversion(steps=self.steps, grid=self.grid, stop=self.stop, rounds=self.rounds)

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        return self._ddim.up(prior, x_0, times, noise, keep)

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        return self._ddim.down(prior, code, times, each)

    def edit_prior(self, target: Prior, source: Prior) -> Prior:
        return target.with_negative(source)
