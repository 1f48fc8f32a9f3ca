"""ReSample (Song et al., 2023): latents fitted to the data, then noised back to the chain."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import Operator
from ..priors.base import Prior
from ..samplers.ancestral import Ancestral
from ..samplers.base import Sampler
from .base import KernelGuidance

__all__ = ["ReSample"]


@dataclass(frozen=True, kw_only=True)
class ReSample(KernelGuidance[GaussianLikelihood[Any]]):
    """x_s ~ N((v alpha_s z + sigma_s^2 x_s') / (v + sigma_s^2), v sigma_s^2 / (v + sigma_s^2)).

    x_s' is the DDIM step (eta = 0), z = argmin ||y - A(z)||^2 by Adam from E[x_0 | x_t], each
    image until its chi2 is 1, and v = gamma r_t^2 var the distrust in x_s', with var the variance
    of q(x_s | x_t, x_0) and r_t = sigma_t / alpha_t. Any differentiable A, behind a decoder or not.
    Heuristic. "Solving Inverse Problems with Latent Diffusion Models via Hard Data Consistency",
    algorithm 1 and prop. 1, https://arxiv.org/abs/2307.08123; it fits at some steps only.

    Arguments:
        gamma: 40 in the paper.
        iterations: Most steps of Adam.
        rate: Their size.
    """

    sampler: Sampler = field(default_factory=lambda: Ancestral(steps=50))
    gamma: float = 40.0
    iterations: int = 50
    rate: float = 0.03

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, Operator

    def kernel(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[Any],
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        eta: float,
    ) -> Kernel:
        alpha_s, sigma_s = prior.diffusion.schedule(s)
        x_0 = prior(x_t, t)
        bridge = cast(GaussianDiffusion, prior.diffusion).bridge
        x_s, var = bridge(x_t, x_0, t, s, 0.0).loc, bridge(x_t, x_0, t, s).var
        v = self.gamma * prior.diffusion.schedule.ratio(t) ** 2 * var
        share = v / (v + sigma_s**2)
        z = self.fit(likelihood, x_0)
        return GaussianKernel(share * alpha_s * z + (1 - share) * x_s, share * sigma_s**2)

    def fit(self, likelihood: GaussianLikelihood[Any], x_0: Tensor) -> Tensor:
        """Return states near ``x_0`` that explain the data up to their noise."""
        z, unit = x_0.clone(), replace(likelihood, sigma=1.0)
        adam = torch.optim.Adam([z], lr=self.rate)
        for _ in range(self.iterations):
            going = (unit.chi2(z) > likelihood.sigma**2).reshape(-1, *(1,) * (z.ndim - 1))
            before, z.grad = z.clone(), -unit.score(z)
            adam.step()
            z.copy_(torch.where(going, z, before))
        return z.detach()
