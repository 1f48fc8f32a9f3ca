"""DDNM (Wang et al., 2023): the range of A from the data, its null space from the prior."""

from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel, RotatedKernel
from ..likelihoods.base import ConditionableLikelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator, SVDOperator
from ..samplers.base import Sampler
from ..samplers.ddim import DDIM
from .base import Guidance, Needs, Posterior
from .ddrm import spectral

__all__ = ["DDNM"]

Conditionable = ConditionableLikelihood[LinearOperator]
P = Posterior[Conditionable]


@dataclass(frozen=True, kw_only=True)
class DDNM(Guidance[Conditionable]):
    """x_0 + A^+ (y - A x_0) where sigma = 0; where sigma > 0, DDNM+ in the spectrum of A.

    There, entry by entry of V^T x_s / alpha_s, U^T y / s has the noise r_y = sigma / s. The noise
    of y and that of the state together are to be r_s = sigma_s / alpha_s. So an entry goes to y by
    the bridge of the noise levels sqrt(r^2 - r_y^2) while r_s >= r_y (lambda = 1), and from there
    to E[x_0 | x_t] by that of r (lambda = 0). The paper counts the noise of one step only, and
    after that level mixes y in by lambda = d s / (a sigma), which on a fine grid copies all noise
    of y. An A without an SVD has A^T (A A^T + sigma^2 / r_s^2)^-1 in place of A^+; samplers that
    draw no kernels use A^+ itself. Heuristic; exact where everything is measured with one s, at
    eta = 1. "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", sec. 3.3,
    https://arxiv.org/abs/2212.00490.
    """

    sampler: Sampler = field(default_factory=lambda: DDIM(steps=100, eta=0.85))

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, ConditionableLikelihood, LinearOperator)

    def denoise(self, p: P, x_t: Tensor, t: Tensor) -> Tensor:
        x_0 = p.prior(x_t, t)
        return x_0 + p.likelihood.operator.pinv(p.likelihood.residual(x_0))

    def kernel(self, p: P, x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        if p.likelihood.sigma == 0:
            return super().kernel(p, x_t, t, s, eta)
        x_0 = p.prior(x_t, t)
        A = p.likelihood.operator
        if not isinstance(A, SVDOperator):
            x_0 = p.likelihood.condition(x_0, p.schedule.ratio(s) ** 2)
            return p.diffusion.bridge(x_t, x_0, t, s, eta)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = p.schedule(t), p.schedule(s)
        r_t, r_s = sigma_t / alpha_t, sigma_s / alpha_s
        x_0 = A.to_spectrum(x_0)
        z = A.to_spectrum(x_t) / alpha_t
        y, r_y = spectral(cast(GaussianLikelihood[SVDOperator], p.likelihood))
        above = r_s >= r_y
        end = torch.where(above, y, x_0)
        z = torch.where(~above & (r_y < r_t), y, z)
        l_t = torch.where(above, (r_t**2 - r_y**2).sqrt(), r_y.clamp_max(r_t))
        l_s = torch.where(above, (r_s**2 - r_y**2).sqrt(), r_s)
        tau = eta**2 * (1 - (l_s / l_t) ** 2)
        loc = end + l_s * (1 - tau).sqrt() * (z - end) / l_t
        inner = GaussianKernel(alpha_s * loc, alpha_s**2 * tau * l_s**2)
        return RotatedKernel(inner, A.to_spectrum, A.from_spectrum)
