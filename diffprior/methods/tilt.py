"""Perturbed reverse kernels (Sohl-Dickstein et al., 2015): every kernel times the likelihood."""

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel
from ..likelihoods.base import ConditionableLikelihood, Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import DiagonalOperator, LinearOperator
from ..priors.base import denoise_vjp
from .base import KernelGuidance, LinearPosterior, Posterior
from .mmps import MMPS

__all__ = ["Tilt"]


@dataclass(frozen=True, kw_only=True)
class Tilt(KernelGuidance[Likelihood[Any]]):
    """p(x_s | x_t) r_s(x_s), with log r_s taken as linear about mu, the mean of p(x_s | x_t).

    The setting ``r`` chooses r_s:

    - ``moments``: p(y | x_s) under x_0 | x_s ~ N(x_0, V), with x_0 = E[x_0 | x_s] and Tweedie's
      covariance V. For Gaussian noise and a linear A it is N(y; A x_0, A V A^T + sigma^2), which
      is exact for a Gaussian prior in the limit of many steps. For another A the covariance is
      sigma^2 + q / (1 + q), with q = (sigma_s / alpha_s)^2; for other noise, and for a reward,
      r_s is p(y | x_0). Both are heuristic; the last is exact where log r is linear in x_0 and
      the prior is Gaussian.
    - ``annealed``: p(y | x_s)^(1 - s), of the same paper. Heuristic.
    - ``constant``: p(y | x_s) at every s. Heuristic: r belongs to x_0, not to x_s, and counts the
      data again at every step. Bits, and data that are only known to lie in a cell (JPEG), have
      this one whatever ``r`` is.

    For the last two and Gaussian noise on separate entries (a mask) the product of the two
    Gaussians is taken exactly, also for exact data; for another linear A its mean is, and the
    variance is kept. As the ``proposal`` of ``TwistedSMC`` each of them meets the posterior.

    "Deep Unsupervised Learning using Nonequilibrium Thermodynamics", sec. 2.5 and app. C,
    https://arxiv.org/abs/1503.03585. The moments are those of MMPS,
    https://arxiv.org/abs/2405.13712.

    Arguments:
        r: Which r_s: ``moments``, ``annealed`` or ``constant``.
        iterations: Iterations of the solver of ``moments``, one vector-Jacobian product each.
    """

    r: Literal["moments", "annealed", "constant"] = "moments"
    iterations: int = 5

    def kernel(self, p: Posterior[Any], x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        if eta == 0:
            raise ValueError("Tilt moves a kernel by its variance, and eta = 0 has none: eta > 0")
        kernel = p.prior.kernel(x_t, t, s, eta)
        if self.r == "moments" and _has_moments(p) and s > 0:
            return kernel.tilt(self.score(p, kernel.mean, s))
        weight = 1 - float(s) if self.r == "annealed" else 1.0
        return _product(kernel, p.likelihood, weight)

    def score(self, p: Posterior[Any], mu: Tensor, s: Tensor) -> Tensor:
        """Return the gradient of log r_s at ``mu``, for the r_s of ``moments``."""
        likelihood = p.likelihood
        gaussian = isinstance(likelihood, GaussianLikelihood)
        if gaussian and isinstance(likelihood.operator, LinearOperator):
            alpha_s, sigma_s = p.schedule(s)
            _, shift = MMPS(iterations=self.iterations).shift(cast(LinearPosterior, p), mu, s)
            return alpha_s / sigma_s**2 * shift
        x_0, vjp = denoise_vjp(p.prior, mu, s)
        if gaussian:
            q = p.schedule.ratio(s) ** 2
            var = likelihood.sigma**2 + float(q / (1 + q))
            return vjp(replace(likelihood, sigma=var**0.5).score(x_0))
        return vjp(likelihood.score(x_0))


def _has_moments(p: Posterior[Any]) -> bool:
    """Return whether y has a density given x_0, and x_0 a Gaussian one given x_s."""
    cell = isinstance(p.likelihood, ConditionableLikelihood)
    cell = cell and not isinstance(p.likelihood, GaussianLikelihood)
    return isinstance(p.diffusion, GaussianDiffusion) and not cell


def _product(kernel: Kernel, likelihood: Likelihood[Any], weight: float) -> Kernel:
    """Return the kernel times p(y | .)^weight."""
    A = likelihood.operator
    linear = isinstance(likelihood, ConditionableLikelihood) and isinstance(A, LinearOperator)
    if not (isinstance(kernel, GaussianKernel) and linear):
        return kernel.tilt(weight * likelihood.score(kernel.mean))
    if isinstance(likelihood, GaussianLikelihood) and weight != 1:
        likelihood = replace(likelihood, sigma=likelihood.sigma / weight**0.5)
    known = cast(ConditionableLikelihood[LinearOperator], likelihood)
    loc = known.condition(kernel.loc, kernel.var)
    var = kernel.var
    if isinstance(A, DiagonalOperator):
        precise = var * A.s**2 + known.sigma**2
        var = torch.where(A.s > 0, var * known.sigma**2 / precise, var)
    return GaussianKernel(loc, var)
