"""MCG (Chung et al., 2022): a step down the distance to the data, then the data themselves."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import Kernel
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator
from .base import KernelGuidance, LinearGaussian, LinearPosterior, Needs
from .dps import DPS
from .score_sde import splice

__all__ = ["MCG"]


@dataclass(frozen=True, kw_only=True)
class MCG(KernelGuidance[LinearGaussian]):
    """x_s = phi y_s + (1 - phi) x_s', x_s' as in DPS, y_s ~ q(x_s | A^+ y) and phi = A^+ A.

    For exact data; heuristic. "Improving Diffusion Models for Inverse Problems using Manifold
    Constraints", algorithm 1, https://arxiv.org/abs/2206.00941.

    Arguments:
        zeta: Step size of DPS: the gradient is that of the norm, not squared.
    """

    zeta: float = 1.0

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, LinearOperator)

    def kernel(self, p: LinearPosterior, x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        return splice(p, DPS(zeta=self.zeta).kernel(p, x_t, t, s, eta), s)
