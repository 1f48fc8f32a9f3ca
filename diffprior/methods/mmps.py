"""MMPS (Rozet et al., 2024): the likelihood of y given x_t, with the covariance of x_0 in it."""

from dataclasses import dataclass, field

from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..likelihoods import GaussianLikelihood
from ..operators.base import LinearOperator
from ..priors.base import Prior, denoise_vjp
from ..samplers.base import Sampler
from ..samplers.dpm import DPM
from ..solvers import gmres
from .base import Guidance

__all__ = ["MMPS"]

LinearGaussian = GaussianLikelihood[LinearOperator]


@dataclass(frozen=True, kw_only=True)
class MMPS(Guidance[LinearGaussian]):
    """E[x_0 | x_t, y] = x_0 + V A^T (sigma^2 + A V A^T)^-1 (y - A x_0).

    V v = (sigma_t^2 / alpha_t) J^T v is Tweedie's covariance of x_0 given x_t, met only through
    vector-Jacobian products; GMRES does not need the network's Jacobian to be symmetric. Exact for
    a Gaussian prior once ``iterations`` reaches the rank of A. "Learning Diffusion Priors from
    Observations by Expectation Maximization", https://arxiv.org/abs/2405.13712.

    Arguments:
        iterations: GMRES iterations, one vector-Jacobian product each.
    """

    sampler: Sampler = field(default_factory=lambda: DPM(steps=50))
    iterations: int = 5

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, LinearOperator

    def denoise(self, prior: Prior, likelihood: LinearGaussian, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = prior.diffusion.schedule(t)
        x_0, vjp = denoise_vjp(prior, x_t, t)
        A, gain = likelihood.operator, sigma_t**2 / alpha_t

        def cov_y(v: Tensor) -> Tensor:
            return likelihood.sigma**2 * v + A(gain * vjp(A.adjoint(v)))

        v = gmres(cov_y, likelihood.residual(x_0), self.iterations)
        return x_0 + gain * vjp(A.adjoint(v))
