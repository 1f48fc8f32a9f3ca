"""DPS (Chung et al., 2023): after each reverse step, a step down the distance to the data."""

from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel
from ..likelihoods import GaussianLikelihood
from ..operators.base import Operator
from ..priors.base import Prior, denoise_vjp
from .base import KernelGuidance

__all__ = ["DPS", "pull"]


@dataclass(frozen=True, kw_only=True)
class DPS(KernelGuidance[GaussianLikelihood[Any]]):
    """The mean of p(x_s | x_t) moves by -zeta d/dx_t ||y - A(x_0(x_t))||.

    The norm is that of each picture alone, and not squared; with ``constant`` it is
    ||y - A(x_0(x_t))||^2 / 2, whose step is not divided by the norm.
    Any differentiable A. Heuristic: it does not know sigma, and zeta is to be tuned to the task and
    to the number of steps. "Diffusion Posterior Sampling for General Noisy Inverse Problems",
    algorithm 1, https://arxiv.org/abs/2209.14687.

    Arguments:
        zeta: Step size; the paper has 0.3 to 1 at 1000 steps (0.3 to deblur and super-resolve, 0.5
            to inpaint, 1 to retrieve a phase).
        constant: Whether the step is zeta itself rather than zeta / ||y - A(x_0)||.
    """

    zeta: float = 1.0
    constant: bool = False

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
        x_0, vjp = denoise_vjp(prior, x_t, t)
        uphill = vjp(pull(likelihood, x_0, self.constant))
        bridge = cast(GaussianKernel, prior.diffusion.bridge(x_t, x_0, t, s, eta))
        return GaussianKernel(bridge.loc + self.zeta * uphill, bridge.var)


def pull(likelihood: GaussianLikelihood[Any], x_0: Tensor, squared: bool = False) -> Tensor:
    """Return -d/dx_0 ||y - A(x_0)||, or that of half its square, for each picture alone."""
    uphill: Tensor = replace(likelihood, sigma=1.0).score(x_0)
    if squared:
        return uphill
    norm: Tensor = likelihood.residual(x_0).flatten(1).norm(dim=1).clamp_min(1e-8)
    return uphill / norm.reshape(-1, *(1,) * (x_0.ndim - 1))
