"""Predictor and corrector (Song et al., 2021): a step of any sampler, then Langevin steps."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid
from ..validation import Positive, Whole
from .base import Sampler
from .langevin import langevin_step
from .reverse_diffusion import ReverseDiffusion

__all__ = ["PredictorCorrector", "corrector_size"]


def corrector_size(snr: float) -> float:
    """Return the size of Langevin steps, in units of sigma_t^2, by their signal-to-noise ratio.

    The paper's step is N(x + e g, 2 e), e = 2 (snr ||z|| / ||g||)^2 with the norms of noise z and
    of the score g. Here ||g|| is that of the score of the noise, ||z|| / sigma_t: the norm of g
    itself would bend the law, and its mean over a batch would tie the rows together.
    """
    return 4 * snr**2


@dataclass(frozen=True, kw_only=True)
class PredictorCorrector(Sampler):
    """x_s by ``predictor``, then ``corrections`` Langevin steps at time s, none of them at s = 0.

    Algorithms 2 (VE) and 3 (VP) of "Score-Based Generative Modeling through Stochastic Differential
    Equations", https://arxiv.org/abs/2011.13456, app. G; one call more a step for each correction.

    Arguments:
        predictor: Any sampler; of its settings, steps and grid are those of this one.
        corrections: Langevin steps after each step.
        snr: Signal-to-noise ratio that sets their size; the paper has 0.16 for VE, 0.01 for VP.
    """

    steps: int = 500
    grid: Grid = "logsnr"
    predictor: Sampler = field(default_factory=ReverseDiffusion)
    corrections: Whole = 1
    snr: Positive = 0.16

    @property
    def draws(self) -> bool:
        return True

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: Any, noise: Noise | None
    ) -> tuple[Tensor, Any]:
        stream = self.stream(noise)
        predictor = self.predictor.with_steps(self.steps)
        x, carry = predictor.step(prior, x_t, t, s, carry, noise)
        if s > 0:
            for _ in range(self.corrections):
                x = langevin_step(prior, x, s, corrector_size(self.snr)).sample(stream)
        return x, carry
