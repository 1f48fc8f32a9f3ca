"""Perturbed reverse kernels (Sohl-Dickstein et al., 2015): every kernel times the likelihood."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..kernels import GaussianKernel, Kernel
from ..likelihoods.base import ConditionableLikelihood, Likelihood
from ..operators.base import DiagonalOperator, LinearOperator
from .base import KernelGuidance, Posterior

__all__ = ["Tilt"]


@dataclass(frozen=True, kw_only=True)
class Tilt(KernelGuidance[Likelihood[Any]]):
    """p(x_s | x_t) r(x_s), r = p(y | .), the same r at every s.

    For Gaussian noise on separate entries (a mask) the product of the two Gaussians is taken
    exactly, also for exact data; for another linear operator its mean is, and the variance kept;
    otherwise it is of first order, which is exact for bits. The chain of these kernels is a
    heuristic: r belongs to x_0, not to x_s. "Deep Unsupervised Learning using Nonequilibrium
    Thermodynamics", sec. 2.5 and app. C, https://arxiv.org/abs/1503.03585.
    """

    def kernel(self, p: Posterior[Any], x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        if eta == 0:
            raise ValueError("Tilt moves a kernel by its variance, and eta = 0 has none: eta > 0")
        kernel = p.prior.kernel(x_t, t, s, eta)
        likelihood = p.likelihood
        A = p.likelihood.operator
        linear = isinstance(likelihood, ConditionableLikelihood) and isinstance(A, LinearOperator)
        if not (isinstance(kernel, GaussianKernel) and linear):
            return kernel.tilt(likelihood.score(kernel.mean))
        loc = likelihood.condition(kernel.loc, kernel.var)
        var = kernel.var
        if isinstance(A, DiagonalOperator):
            precise = var * A.s**2 + likelihood.sigma**2
            var = torch.where(A.s > 0, var * likelihood.sigma**2 / precise, var)
        return GaussianKernel(loc, var)
