"""DDNM (Wang et al., 2023): the range of A from the data, its null space from the prior."""

from dataclasses import dataclass, field

from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..likelihoods import GaussianLikelihood
from ..operators.base import LinearOperator
from ..priors.base import Prior
from ..samplers.base import Sampler
from ..samplers.ddim import DDIM
from .base import Guidance

__all__ = ["DDNM"]


@dataclass(frozen=True, kw_only=True)
class DDNM(Guidance[GaussianLikelihood[LinearOperator]]):
    """x_0 + A^+ (y - A x_0).

    For exact data; noise in y is copied into the result. Heuristic.
    "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model",
    https://arxiv.org/abs/2212.00490.
    """

    sampler: Sampler = field(default_factory=lambda: DDIM(steps=100, eta=0.85))

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, LinearOperator

    def denoise(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[LinearOperator],
        x_t: Tensor,
        t: Tensor,
    ) -> Tensor:
        x_0 = prior(x_t, t)
        return x_0 + likelihood.operator.pinv(likelihood.residual(x_0))
