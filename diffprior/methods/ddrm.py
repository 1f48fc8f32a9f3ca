"""DDRM (Kawar et al., 2022): every direction of the spectrum of A at its own noise level."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel, RotatedKernel
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import SVDOperator
from ..priors.base import Prior
from ..samplers.ancestral import Ancestral
from ..samplers.base import Sampler
from ..validation import Share
from .base import KernelGuidance

__all__ = ["DDRM", "spectral"]


@dataclass(frozen=True, kw_only=True)
class DDRM(KernelGuidance[GaussianLikelihood[SVDOperator]]):
    """V^T x_s / alpha_s ~ N(x_0 + gain (y - x_0), var), entry by entry, with r = sigma / alpha.

    x_0 and y stand for V^T E[x_0 | x_t] and U^T y / s here, and the noise of the latter is of
    r_y = sigma / s. Where r_s >= r_y, gain = eta_b and var = r_s^2 - eta_b^2 r_y^2; where
    r_s < r_y, gain = sqrt(1 - eta^2) r_s / r_y and var = eta^2 r_s^2; where nothing is seen, the
    same with V^T x_t / alpha_t and r_t in place of y and r_y. Knowing x_0, each x_s is then the
    very N(alpha_s x_0, sigma_s^2) that the prior was trained on. Heuristic, though once r_s meets
    r_y in every direction the state is y, and its denoising exact. "Denoising Diffusion Restoration
    Models", eqs. 7 and 8, https://arxiv.org/abs/2201.11793.

    Arguments:
        eta: Share of fresh noise where the data say nothing new, from 0 to 1.
        eta_b: Share of the data in directions that are noisier than they, from 0 to 1.
    """

    sampler: Sampler = field(default_factory=lambda: Ancestral(steps=20))
    eta: Share = 0.85
    eta_b: Share = 1.0

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, SVDOperator

    def kernel(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[SVDOperator],
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        eta: float,
    ) -> Kernel:
        A, (alpha_t, sigma_t) = likelihood.operator, prior.diffusion.schedule(t)
        alpha_s, sigma_s = prior.diffusion.schedule(s)
        r_t, r_s, kept = sigma_t / alpha_t, sigma_s / alpha_s, (1 - self.eta**2) ** 0.5
        x_0, (y, r_y) = A.to_spectrum(prior(x_t, t)), spectral(likelihood)
        y = torch.where(r_y < torch.inf, y, A.to_spectrum(x_t) / alpha_t)
        r_y = torch.where(r_y < torch.inf, r_y, r_t)
        below = r_s < r_y
        gain = torch.where(below, kept * r_s / r_y, self.eta_b)
        var = torch.where(below, self.eta**2 * r_s**2, r_s**2 - (self.eta_b * r_y) ** 2)
        inner = GaussianKernel(alpha_s * (x_0 + gain * (y - x_0)), alpha_s**2 * var)
        return RotatedKernel(inner, A.to_spectrum, A.from_spectrum)


def spectral(likelihood: GaussianLikelihood[SVDOperator]) -> tuple[Tensor, Tensor]:
    """Return U^T y / s and the noise of its entries, sigma / s; 0 and inf where nothing is seen."""
    A = likelihood.operator
    seen = A.s > 1e-6 * A.s.max()
    size = torch.where(seen, A.s, 1)
    y = torch.where(seen, A.to_left(likelihood.y) / size, 0)
    return y, torch.where(seen, likelihood.sigma / size, torch.inf)
