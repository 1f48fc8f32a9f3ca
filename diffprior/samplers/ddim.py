"""DDIM (Song et al., 2021): the same kernels with their randomness dialled down."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..validation import Share
from .base import Sampler

__all__ = ["DDIM"]


@dataclass(frozen=True, kw_only=True)
class DDIM(Sampler):
    """x_s ~ p_eta(x_s | x_t): ancestral at eta = 1, a first-order solver of the flow at eta = 0.

    At eta = 0 it also runs upwards in time, which is DDIM inversion.
    "Denoising Diffusion Implicit Models", https://arxiv.org/abs/2010.02502.

    Arguments:
        eta: Share of the ancestral standard deviation that is kept.
    """

    bits: ClassVar[bool] = True

    eta: Share = 0.0

    @property
    def draws(self) -> bool:
        return self.eta > 0

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        kernel = prior.kernel(x_t, t, s, self.eta)
        if self.eta == 0:
            return kernel.mean, None
        return kernel.sample(self.stream(noise)), None
