"""gDDIM (Zhang et al., 2023): DDIM for every share of the noise of the reverse SDE."""

from dataclasses import dataclass

from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..validation import Share
from .base import Sampler

__all__ = ["GDDIM"]


@dataclass(frozen=True, kw_only=True)
class GDDIM(Sampler):
    """x_s = alpha_s x_0 + ..., the exact step of dz = (1 + k^2) (x_0 - z) dlambda + sqrt(2) k r dw.

    z = x / alpha, r = sigma / alpha, lambda = -log r, and k is ``share``. The step keeps
    (r_s / r_t)^(2 k^2) of the variance of the old noise, and is right for one point at any number
    of steps. On noise that is alike in all directions, as it is here, gDDIM is DDIM with another
    eta at each step: k = 0 is DDIM, k = 1 ancestral. "gDDIM: Generalized Denoising Diffusion
    Implicit Models", https://arxiv.org/abs/2206.05564.

    Arguments:
        share: k, the share of the noise of the reverse SDE.
    """

    share: Share = 0.5

    @property
    def draws(self) -> bool:
        return self.share > 0

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        if self.share == 0:
            return prior.kernel(x_t, t, s, 0.0).mean, None
        schedule = prior.diffusion.schedule
        kept = (schedule.ratio(s) / schedule.ratio(t)) ** 2
        eta = ((1 - kept ** (self.share**2)) / (1 - kept)).sqrt()
        return prior.kernel(x_t, t, s, float(eta)).sample(self.stream(noise)), None
