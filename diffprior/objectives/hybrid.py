"""L_hybrid (Nichol and Dhariwal, 2021): the noise by L_simple, its variance by the bound."""

from dataclasses import dataclass

from torch import Tensor

from ..validation import Positive
from .base import Batch, Denoiser, Steps, row_means
from .vlb import bound_terms, wide

__all__ = ["Hybrid"]


@dataclass(frozen=True, kw_only=True)
class Hybrid(Steps):
    """L_simple + weight L_vlb, with the variance beta_tilde^(1 - v) beta^v, v = (out + 1) / 2.

    The network has two outputs for each number: the noise and v. L_vlb is N times the term of the
    step, in nats per dimension; its gradient passes v alone, so that the mean is that of L_simple.
    "Improved Denoising Diffusion Probabilistic Models" (Nichol and Dhariwal, 2021), eq. 15 and 16,
    https://arxiv.org/abs/2102.09672.

    Arguments:
        weight: What the bound counts.
        levels: As of ``vlb``.
    """

    weight: Positive = 1e-3
    levels: bool = True

    @property
    def numbers(self) -> int:
        return 2

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        x_t = denoiser.noised(batch)
        outputs = denoiser.outputs(x_t, batch.t)
        epsilon, out = outputs.chunk(2, 1)
        x_0 = denoiser.denoised(x_t, batch.t, epsilon.detach())
        share = (wide(out) + 1) / 2
        terms = bound_terms(self, denoiser, batch, (x_t, x_0), share, self.levels)
        return row_means((epsilon - batch.noise) ** 2) + self.weight * self.steps * terms
