"""DiffPIR (Zhu et al., 2023): plug-and-play restoration with fresh noise at every step."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel
from ..likelihoods.base import ConditionableLikelihood
from ..operators.base import LinearOperator
from ..samplers.base import Sampler
from ..samplers.ddim import DDIM
from .base import KernelGuidance, Needs, Posterior

__all__ = ["DiffPIR"]

Conditionable = ConditionableLikelihood[LinearOperator]
P = Posterior[Conditionable]


@dataclass(frozen=True, kw_only=True)
class DiffPIR(KernelGuidance[Conditionable]):
    """x_s = alpha_s x_0' + sigma_s (sqrt(1 - zeta) eps' + sqrt(zeta) eps), x_0' near to y.

    x_0' = argmin_z ||y - A z||^2 / sigma^2 + weight ||z - x_0||^2 / q, with
    q = (sigma_t / alpha_t)^2 and eps' = (x_t - alpha_t x_0') / sigma_t. Heuristic.
    "Denoising Diffusion Models for Plug-and-Play Image Restoration", algorithm 1,
    https://arxiv.org/abs/2305.08995.

    Arguments:
        weight: Trust in the prior (lambda in the paper, with all noise levels in the same units).
        zeta: Share of fresh noise; at 1 all noise is fresh.
    """

    sampler: Sampler = field(default_factory=lambda: DDIM(steps=100, eta=1.0))
    weight: float = 1.0
    zeta: float = 1.0

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, ConditionableLikelihood, LinearOperator)

    def kernel(self, p: P, x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = p.schedule(t), p.schedule(s)
        q = (sigma_t / alpha_t) ** 2
        x_0 = p.likelihood.condition(p.prior(x_t, t), q / self.weight)
        eps = (x_t - alpha_t * x_0) / sigma_t
        loc = alpha_s * x_0 + sigma_s * (1 - self.zeta) ** 0.5 * eps
        return GaussianKernel(loc, self.zeta * sigma_s**2)
