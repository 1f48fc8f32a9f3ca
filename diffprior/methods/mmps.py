"""MMPS (Rozet et al., 2024): the likelihood of y given x_t, with the covariance of x_0."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..bands import in_bands, let_go, put_down
from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator
from ..priors.base import denoise_vjp
from ..samplers.base import Sampler
from ..samplers.dpm import DPM
from ..solvers import galerkin, per_row
from .base import Guidance, LinearGaussian, LinearPosterior, Needs

__all__ = ["MMPS"]


@dataclass(frozen=True, kw_only=True)
class MMPS(Guidance[LinearGaussian]):
    """E[x_0 | x_t, y] = x_0 + V A^T (sigma^2 + A V A^T)^-1 (y - A x_0).

    V v = (sigma_t^2 / alpha_t) J^T v is Tweedie's covariance of x_0 given x_t, computed by
    vector-Jacobian products alone. The solver applies V A^T to its basis, and V A^T of the
    solution is a weighted sum of these. A network's Jacobian is not quite symmetric;
    ``diffprior.solvers.galerkin`` says how the solver copes. Exact for a Gaussian prior once
    ``iterations`` reaches the rank of A. "Learning Diffusion Priors from Observations by
    Expectation Maximization", https://arxiv.org/abs/2405.13712.

    Arguments:
        iterations: Iterations of the solver, one vector-Jacobian product each.
    """

    sampler: Sampler = field(default_factory=lambda: DPM(steps=50))
    iterations: int = 5

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, LinearOperator)

    def denoise(self, p: LinearPosterior, x_t: Tensor, t: Tensor) -> Tensor:
        x_0, shift = self.shift(p, x_t, t)
        return in_bands(torch.add, x_0, shift, into=shift)

    def shift(self, p: LinearPosterior, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return E[x_0 | x_t] and V A^T (sigma^2 + A V A^T)^-1 (y - A x_0)."""
        alpha_t, sigma_t = p.schedule(t)
        x_0, vjp = denoise_vjp(p.prior, x_t, t)
        A = p.likelihood.operator
        var = p.likelihood.sigma**2
        rate = sigma_t**2 / alpha_t
        images: list[Tensor] = []  # of the solver's basis under V A^T

        def residual() -> Tensor:
            r = p.likelihood.residual(x_0)
            let_go(x_0)
            return r

        def pulled_back(v: Tensor) -> Tensor:
            back = [A.adjoint(v)]  # held by nobody else
            let_go(v)
            return in_bands(lambda g: rate * g, vjp(back.pop()))

        def cov_y(v: Tensor) -> Tensor:
            image = put_down(pulled_back(v))
            images.append(image)
            y = A(image)
            let_go(image)
            return in_bands(lambda v, y: var * v + y, v, y)

        weights = galerkin(cov_y, residual(), self.iterations, least=var)
        shift = torch.zeros_like(x_0)
        for w, image in zip(weights, images, strict=True):
            shift = in_bands(
                lambda shift, image, w: shift + w * image,
                shift,
                image,
                per_row(w, image),
                into=shift,
            )
        return x_0, shift
