"""TMPD (Boys et al., 2023): the likelihood of y given x_t, with the row sums of its covariance."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator
from ..priors.base import denoise_vjp
from ..samplers.ancestral import Ancestral
from ..samplers.base import Sampler
from ..solvers import dot, per_row
from .base import Guidance, LinearGaussian, LinearPosterior, Needs

__all__ = ["TMPD"]


@dataclass(frozen=True, kw_only=True)
class TMPD(Guidance[LinearGaussian]):
    """x_0 + step V A^T v, with v = r / (sigma^2 + |A V A^T 1|) and r = y - A x_0.

    V u = (sigma_t^2 / alpha_t) J^T u is Tweedie's covariance of x_0 given x_t. That of y given x_t
    is taken as diagonal, each entry its row's sum: exact for a Gaussian prior where A V A^T is
    diagonal, cautious where what is measured together agrees, as in images, and heuristic. Where
    a row has entries of both signs, its sum is too small, or is no variance at all; so its size
    counts, and step = min(1, v.r / v.(sigma^2 + A V A^T) v) goes no farther along v than is best.
    It is 0 where v.(sigma^2 + A V A^T) v is not above 0, as it may be for a prior whose J is not
    that of a density, such as ``PatchPrior``.
    "Tweedie Moment Projected Diffusions for Inverse Problems", https://arxiv.org/abs/2310.06721.
    """

    sampler: Sampler = field(default_factory=lambda: Ancestral(steps=50))

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, LinearOperator)

    def denoise(self, p: LinearPosterior, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = p.schedule(t)
        x_0, vjp = denoise_vjp(p.prior, x_t, t)
        A = p.likelihood.operator
        var = p.likelihood.sigma**2
        gain = sigma_t**2 / alpha_t
        r = p.likelihood.residual(x_0)
        rows = A(gain * vjp(A.adjoint(A.mask_unmeasured(torch.ones_like(r)))))
        total = var + rows.abs()
        v = torch.where(total > 0, r / total, 0)
        move = gain * vjp(A.adjoint(v))
        reach = per_row(dot(v, A(move) + var * v), x_0)
        best = per_row(dot(v, r), x_0)
        step = torch.where(reach > best, best / reach, (reach > 0).to(reach))
        return x_0 + torch.where(step > 0, step * move, 0)
