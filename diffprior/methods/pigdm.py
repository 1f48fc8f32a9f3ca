"""PiGDM (Song et al., 2023): the likelihood of y given x_t, x_0 taken as round."""

from dataclasses import dataclass, field

from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..likelihoods import GaussianLikelihood
from ..operators.base import LinearOperator
from ..priors.base import Prior, denoise_vjp
from ..samplers.base import Sampler
from ..samplers.dpm import DPM
from .base import Guidance

__all__ = ["PiGDM"]

LinearGaussian = GaussianLikelihood[LinearOperator]


@dataclass(frozen=True, kw_only=True)
class PiGDM(Guidance[LinearGaussian]):
    """x_0 + (sigma_t^2 / alpha_t) J^T A^T (r_t^2 A A^T + sigma^2)^+ (y - A x_0).

    r_t^2 = var q / (var + q), with q = (sigma_t / alpha_t)^2: the variance of x_0 given x_t if
    pictures were N(m, var I), for which the method is exact; heuristic otherwise.
    "Pseudoinverse-Guided Diffusion Models for Inverse Problems",
    https://openreview.net/forum?id=9_gsMA8MRKQ.

    Arguments:
        var: Variance of an entry of x_0, in its own units squared.
    """

    sampler: Sampler = field(default_factory=lambda: DPM(steps=50))
    var: float = 1.0

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, LinearOperator

    def denoise(self, prior: Prior, likelihood: LinearGaussian, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = prior.diffusion.schedule(t)
        q = (sigma_t / alpha_t) ** 2
        x_0, vjp = denoise_vjp(prior, x_t, t)
        v = likelihood.weigh(likelihood.residual(x_0), self.var * q / (self.var + q))
        return x_0 + sigma_t**2 / alpha_t * vjp(v)
