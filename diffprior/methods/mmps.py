"""MMPS (Rozet et al., 2024): the likelihood of y given x_t, with the covariance of x_0 in it."""

from dataclasses import dataclass, field

from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator
from ..priors.base import Prior, denoise_vjp
from ..samplers.base import Sampler
from ..samplers.dpm import DPM
from ..solvers import galerkin
from .base import Guidance

__all__ = ["MMPS"]

LinearGaussian = GaussianLikelihood[LinearOperator]


@dataclass(frozen=True, kw_only=True)
class MMPS(Guidance[LinearGaussian]):
    """E[x_0 | x_t, y] = x_0 + V A^T (sigma^2 + A V A^T)^-1 (y - A x_0).

    V v = (sigma_t^2 / alpha_t) J^T v is Tweedie's covariance of x_0 given x_t, met only through
    vector-Jacobian products, and those that solve for (...)^-1 are all that is needed: V A^T of
    the solution is a sum of them. A network's Jacobian is not quite symmetric; how the solver
    bears it is said at ``diffprior.solvers.galerkin``. Exact for a Gaussian prior once
    ``iterations`` reaches the rank of A. "Learning Diffusion Priors from Observations by
    Expectation Maximization", https://arxiv.org/abs/2405.13712.

    Arguments:
        iterations: Of the solver, one vector-Jacobian product each.
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

        var, seen = likelihood.sigma**2, list[Tensor]()

        def cov_y(v: Tensor) -> Tensor:
            seen.append(gain * vjp(A.adjoint(v)))
            return var * v + A(seen[-1])

        weights = galerkin(cov_y, likelihood.residual(x_0), self.iterations, least=var)
        for w, s in zip(weights, seen, strict=True):
            x_0 = x_0 + w.reshape(-1, *(1,) * (s.ndim - 1)) * s
        return x_0
