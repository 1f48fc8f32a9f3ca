"""PiGDM (Song et al., 2023): the likelihood of y given x_t, with an isotropic x_0."""

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

__all__ = ["PiGDM"]


@dataclass(frozen=True, kw_only=True)
class PiGDM(Guidance[LinearGaussian]):
    """x_0 + step V v, with v = A^T (r_t^2 A A^T + sigma^2)^+ (y - A x_0).

    V v = (sigma_t^2 / alpha_t) J^T v is Tweedie's covariance of x_0 given x_t, and r_t^2 =
    var q / (var + q), with q = (sigma_t / alpha_t)^2, is an estimate of it: the variance of x_0
    given x_t if images were N(m, var I), for which the method is exact; heuristic otherwise. With
    a var, step = 1, as in the paper. Without one, var = 1, the paper's, and step =
    (n + r_t^2 v.v) / (n + v.V v), n = ||y - A x_0 - r_t^2 A v||^2 / sigma^2, corrects the estimate
    along v: V is many times r_t^2 in smooth directions, and a small part of it in rough ones.
    "Pseudoinverse-Guided Diffusion Models for Inverse Problems",
    https://openreview.net/forum?id=9_gsMA8MRKQ.

    Arguments:
        var: Variance of an entry of x_0, in its own units squared; the paper has 1.
    """

    sampler: Sampler = field(default_factory=lambda: Ancestral(steps=50))
    var: float | None = None

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, LinearOperator)

    def denoise(self, p: LinearPosterior, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = p.schedule(t)
        q = (sigma_t / alpha_t) ** 2
        var = 1.0 if self.var is None else self.var
        r2 = var * q / (var + q)
        x_0, vjp = denoise_vjp(p.prior, x_t, t)
        r = p.likelihood.residual(x_0)
        v = p.likelihood.apply_gain(r, r2)
        move = sigma_t**2 / alpha_t * vjp(v)
        if self.var is not None:
            return x_0 + move
        e = r - r2 * p.likelihood.operator(v)
        n = per_row(dot(e, e), x_0) / p.likelihood.sigma**2 if p.likelihood.sigma > 0 else 0
        estimated = n + r2 * dot(v, v)
        true = n + dot(v, move)
        return x_0 + torch.where(true > 0, estimated / torch.where(true > 0, true, 1), 1) * move
