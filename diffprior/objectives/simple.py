"""L_simple (Ho et al., 2020): the mean square error of the noise, at all steps alike."""

from dataclasses import dataclass

from torch import Tensor

from .base import Batch, Denoiser, Steps

__all__ = ["Simple"]


@dataclass(frozen=True, kw_only=True)
class Simple(Steps):
    """E|eps_theta(x_t, t) - eps|^2, t uniform over the steps.

    "Denoising Diffusion Probabilistic Models" (Ho et al., 2020), eq. 14,
    https://arxiv.org/abs/2006.11239.
    """

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        return self.own_losses(denoiser, batch, batch.noise)
