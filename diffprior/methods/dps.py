"""DPS (Chung et al., 2023): after each reverse step, a step down the distance to the data."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel
from ..likelihoods.base import ConditionableLikelihood
from ..operators.base import Operator
from ..priors.base import denoise_vjp
from ..schedules import Schedule
from ..solvers import per_row
from .base import KernelGuidance, Needs, Posterior

__all__ = ["DPS", "pull"]

P = Posterior[ConditionableLikelihood[Any]]


@dataclass(frozen=True, kw_only=True)
class DPS(KernelGuidance[ConditionableLikelihood[Any]]):
    """The mean of p(x_s | x_t) moves by -zeta c_t c_s d/dx_t ||y - A(x_0(x_t))||.

    The norm is that of each image alone, and not squared; with ``constant`` it is
    ||y - A(x_0(x_t))||^2 / 2, whose step is not divided by the norm. With c_t^2 =
    alpha_t^2 + sigma_t^2 - sigma_0^2 the step is the paper's in x_t / c_t, whatever the schedule;
    c_t = 1 where the schedule preserves the variance, as the paper's does. A is any differentiable
    operator. Heuristic: it does not use sigma, and zeta has to be tuned to the task and to the
    number of steps. "Diffusion Posterior Sampling for General Noisy Inverse Problems",
    algorithm 1, https://arxiv.org/abs/2209.14687.

    Arguments:
        zeta: Step size; the paper has 0.3 to 1 at 1000 steps (0.3 to deblur and super-resolve, 0.5
            to inpaint, 1 to retrieve a phase).
        constant: Whether the step is zeta itself rather than zeta / ||y - A(x_0)||.
    """

    zeta: float = 1.0
    constant: bool = False

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, ConditionableLikelihood, Operator)

    def kernel(self, p: P, x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        c_t, c_s = (_size(p.schedule, u) for u in (t, s))
        x_0, vjp = denoise_vjp(p.prior, x_t, t)
        uphill = vjp(pull(p.likelihood, x_0, self.constant))
        bridge = cast(GaussianKernel, p.diffusion.bridge(x_t, x_0, t, s, eta))
        return GaussianKernel(bridge.loc + self.zeta * c_t * c_s * uphill, bridge.var)


def _size(schedule: Schedule, t: Tensor) -> Tensor:
    """Return c_t, the size of a state of images of unit variance."""
    alpha_t, sigma_t = schedule(t)
    _, sigma_0 = schedule(torch.zeros_like(t))
    return (alpha_t**2 + sigma_t**2 - sigma_0**2).sqrt()


def pull(likelihood: ConditionableLikelihood[Any], x_0: Tensor, squared: bool = False) -> Tensor:
    """Return -d/dx_0 ||y - A(x_0)||, or that of half its square, for each image alone."""
    uphill = likelihood.descent(x_0)
    if squared:
        return uphill
    norm = likelihood.residual(x_0).flatten(1).norm(dim=1).clamp_min(1e-8)
    return uphill / per_row(norm, x_0)
