"""ReSample (Song et al., 2023): latents fitted to the data, then noised back to the chain."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel
from ..likelihoods.base import ConditionableLikelihood
from ..operators.base import Operator
from ..samplers.ancestral import Ancestral
from ..samplers.base import Sampler
from ..solvers import per_row
from .base import KernelGuidance, Needs, Posterior

__all__ = ["ReSample"]

P = Posterior[ConditionableLikelihood[Any]]


@dataclass(frozen=True, kw_only=True)
class ReSample(KernelGuidance[ConditionableLikelihood[Any]]):
    """x_s ~ N((v alpha_s z + sigma_s^2 x_s') / (v + sigma_s^2), v sigma_s^2 / (v + sigma_s^2)).

    x_s' is the DDIM step (eta = 0), z = argmin ||y - A(z)||^2 by Adam from E[x_0 | x_t], each
    image until its chi2 is 1, and v = gamma r_t^2 var the distrust in x_s', with var the variance
    of q(x_s | x_t, x_0) and r_t = sigma_t / alpha_t. A is any differentiable operator, behind a
    decoder or not. Heuristic. "Solving Inverse Problems with Latent Diffusion Models via Hard Data
    Consistency", algorithm 1 and prop. 1, https://arxiv.org/abs/2307.08123, which fits at some
    steps only.

    Arguments:
        gamma: 40 in the paper.
        iterations: The most steps of Adam.
        rate: Their size.
    """

    sampler: Sampler = field(default_factory=lambda: Ancestral(steps=50))
    gamma: float = 40.0
    iterations: int = 50
    rate: float = 0.03

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, ConditionableLikelihood, Operator)

    def kernel(self, p: P, x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        alpha_s, sigma_s = p.schedule(s)
        x_0 = p.prior(x_t, t)
        bridge = cast(GaussianDiffusion, p.diffusion).bridge
        x_s = bridge(x_t, x_0, t, s, 0.0).loc
        var = bridge(x_t, x_0, t, s).var
        v = self.gamma * p.schedule.ratio(t) ** 2 * var
        share = v / (v + sigma_s**2)
        z = self.fit(p.likelihood, x_0)
        return GaussianKernel(share * alpha_s * z + (1 - share) * x_s, share * sigma_s**2)

    def fit(self, likelihood: ConditionableLikelihood[Any], x_0: Tensor) -> Tensor:
        """Return states near ``x_0`` that explain the data up to their noise."""
        z = x_0.clone()
        adam = torch.optim.Adam([z], lr=self.rate)
        for _ in range(self.iterations):
            going = per_row(likelihood.mean_square(z) > likelihood.sigma**2, z)
            before = z.clone()
            z.grad = -likelihood.descent(z)
            adam.step()
            z.copy_(torch.where(going, z, before))
        return z.detach()
