"""Perturbed reverse kernels (Sohl-Dickstein et al., 2015): every kernel times the likelihood."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ..kernels import GaussianKernel, Kernel
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import DiagonalOperator, LinearOperator
from ..priors.base import Prior
from .base import KernelGuidance

__all__ = ["Tilt"]


@dataclass(frozen=True, kw_only=True)
class Tilt(KernelGuidance[Likelihood[Any]]):
    """p(x_s | x_t) r(x_s), r = p(y | .), the same r at every s.

    For Gaussian noise on separate entries (a mask) the product of the two Gaussians is taken
    exactly, also for exact data; for another linear operator its mean is, and the variance kept;
    otherwise it is of first order, which is exact for bits. The chain of
    these kernels is a heuristic: r belongs to x_0, not to x_s. "Deep Unsupervised Learning using
    Nonequilibrium Thermodynamics", sec. 2.5 and app. C, https://arxiv.org/abs/1503.03585.
    """

    def kernel(
        self,
        prior: Prior,
        likelihood: Likelihood[Any],
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        eta: float,
    ) -> Kernel:
        if eta == 0:
            raise ValueError("Tilt moves a kernel by its variance, and eta = 0 has none: eta > 0")
        kernel = prior.kernel(x_t, t, s, eta)
        A = likelihood.operator
        if not (isinstance(kernel, GaussianKernel) and isinstance(A, LinearOperator)):
            return kernel.tilt(likelihood.score(kernel.mean))
        gaussian = cast(GaussianLikelihood[LinearOperator], likelihood)
        loc, var = gaussian.condition(kernel.loc, kernel.var), kernel.var
        if isinstance(A, DiagonalOperator):
            precise = var * A.s**2 + gaussian.sigma**2
            var = torch.where(A.s > 0, var * gaussian.sigma**2 / precise, var)
        return GaussianKernel(loc, var)
