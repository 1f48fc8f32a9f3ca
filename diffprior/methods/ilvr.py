"""ILVR (Choi et al., 2021): a reference, noised, gives every state its low frequencies."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..kernels import Kernel
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator
from ..samplers.ancestral import Ancestral
from ..samplers.base import Sampler
from .base import KernelGuidance, LinearGaussian, LinearPosterior, Needs
from .score_sde import splice

__all__ = ["ILVR"]


@dataclass(frozen=True, kw_only=True)
class ILVR(KernelGuidance[LinearGaussian]):
    """x_s = x_s' + phi(y_s) - phi(x_s'), x_s' ~ p(x_s | x_t) and y_s ~ q(x_s | A^+ y).

    phi = A^+ A is the low-pass filter of an A that averages or decimates (by 8 to 64 in the paper,
    to take over a layout; by less to super-resolve). For exact data; heuristic. "ILVR: Conditioning
    Method for Denoising Diffusion Probabilistic Models", algorithm 1,
    https://arxiv.org/abs/2108.02938.

    Arguments:
        stop: Time from 1 to 0 below which the steps are those of the prior alone.
    """

    sampler: Sampler = field(default_factory=lambda: Ancestral(steps=100))
    stop: float = 0.0

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, LinearOperator)

    def kernel(self, p: LinearPosterior, x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        kernel = p.prior.kernel(x_t, t, s, eta)
        return splice(p, kernel, s) if s >= self.stop else kernel
