"""Ancestral sampling (Sohl-Dickstein et al., 2015; Ho et al., 2020): draw every kernel in turn."""

from dataclasses import dataclass

from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from .base import Sampler

__all__ = ["Ancestral"]


@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """x_s ~ p(x_s | x_t), for bits as for pixels. Converges in law as the steps grow.

    "Denoising Diffusion Probabilistic Models" (Ho et al., 2020), https://arxiv.org/abs/2006.11239.
    """

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        if noise is None:
            raise TypeError("Ancestral draws noise: give it a stream")
        return prior.kernel(x_t, t, s).sample(noise), None
