"""DDRM (Kawar et al., 2022): every direction of the spectrum of A at its own noise level."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel, RotatedKernel
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import SVDOperator
from ..samplers.ancestral import Ancestral
from ..samplers.base import Sampler
from ..validation import Share
from .base import KernelGuidance, Needs, SVDPosterior

__all__ = ["DDRM", "spectral"]


@dataclass(frozen=True, kw_only=True)
class DDRM(KernelGuidance[GaussianLikelihood[SVDOperator]]):
    """V^T x_s / alpha_s ~ N(x_0 + gain (y - x_0), var), entry by entry, with r = sigma / alpha.

    x_0 and y stand for V^T E[x_0 | x_t] and U^T y / s here, and r_y = sigma / s is the noise of
    this y. Where r_s >= r_y, gain = eta_b and var = r_s^2 - eta_b^2 r_y^2; where r_s < r_y,
    gain = sqrt(1 - eta^2) r_s / r_y and var = eta^2 r_s^2; where nothing is measured, the same
    with V^T x_t / alpha_t and r_t in place of y and r_y. Given x_0, each x_s then has the law
    N(alpha_s x_0, sigma_s^2) that the prior was trained on. Heuristic, though once r_s meets r_y
    in every direction the state is y, and its denoising exact. "Denoising Diffusion Restoration
    Models", eqs. 7 and 8, https://arxiv.org/abs/2201.11793.

    Arguments:
        eta: Share of fresh noise in the directions where r_s < r_y or nothing is measured,
            from 0 to 1.
        eta_b: Share of the data in the directions where r_s >= r_y, from 0 to 1.
    """

    sampler: Sampler = field(default_factory=lambda: Ancestral(steps=20))
    eta: Share = 0.85
    eta_b: Share = 1.0

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, SVDOperator)

    def kernel(self, p: SVDPosterior, x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        A = p.likelihood.operator
        (alpha_t, sigma_t), (alpha_s, sigma_s) = p.schedule(t), p.schedule(s)
        r_t, r_s = sigma_t / alpha_t, sigma_s / alpha_s
        x_0 = A.to_spectrum(p.prior(x_t, t))
        y, r_y = spectral(p.likelihood)
        y = torch.where(r_y < torch.inf, y, A.to_spectrum(x_t) / alpha_t)
        r_y = torch.where(r_y < torch.inf, r_y, r_t)
        below = r_s < r_y
        gain = torch.where(below, (1 - self.eta**2) ** 0.5 * r_s / r_y, self.eta_b)
        var = torch.where(below, self.eta**2 * r_s**2, r_s**2 - (self.eta_b * r_y) ** 2)
        inner = GaussianKernel(alpha_s * (x_0 + gain * (y - x_0)), alpha_s**2 * var)
        return RotatedKernel(inner, A.to_spectrum, A.from_spectrum)


def spectral(likelihood: GaussianLikelihood[SVDOperator]) -> tuple[Tensor, Tensor]:
    """Return U^T y / s and its noise sigma / s, entry by entry; 0 and inf where s is 0."""
    A = likelihood.operator
    measured = A.s > 1e-6 * A.s.max()
    size = torch.where(measured, A.s, 1)
    y = torch.where(measured, A.to_left(likelihood.y) / size, 0)
    return y, torch.where(measured, likelihood.sigma / size, torch.inf)
