"""PSLD (Rout et al., 2023): DPS behind a decoder, for latents that encoding gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..errors import UnsuitedError
from ..kernels import GaussianKernel, Kernel
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import Composed, Operator, SVDOperator
from ..priors.base import denoise_vjp
from ..samplers.base import Sampler
from ..samplers.ddim import DDIM
from .base import GaussianPosterior, KernelGuidance, Needs, Posterior
from .dps import pull

__all__ = ["PSLD"]


@dataclass(frozen=True, kw_only=True)
class PSLD(KernelGuidance[GaussianLikelihood[Any]]):
    """The mean of p(x_s | x_t) moves by -d/dx_t (omega ||y - A D(x_0)|| + gamma ||x_0 - E(u)||).

    u = A^+ y + (1 - A^+ A) D(x_0) is the decoded image with the data put in; D is the decoder and
    E the encoder of the prior. Norms are of each image alone, and not squared. Heuristic.
    "Solving Linear Inverse Problems Provably via Posterior Sampling with Latent Diffusion Models",
    algorithm 2, https://arxiv.org/abs/2307.00619.

    Arguments:
        omega: Step size to the data; 0.1 at 1000 steps in the code of the paper, and more at fewer.
        gamma: Step size to a latent that decoding and encoding keep (0.01 there for a box).
    """

    sampler: Sampler = field(default_factory=lambda: DDIM(steps=1000, eta=1.0))
    omega: float = 0.1
    gamma: float = 0.1

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, Operator)

    def check(self, p: Posterior[Any]) -> None:
        super().check(p)
        A, _ = parts(p.likelihood.operator)
        if not isinstance(A, SVDOperator):
            raise UnsuitedError(f"PSLD needs an SVDOperator of images, got {type(A).__name__}")

    def kernel(self, p: GaussianPosterior, x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        x_0, vjp = denoise_vjp(p.prior, x_t, t)
        glue = Glue(*parts(p.likelihood.operator), p.prior.encode, p.likelihood.y)
        glued = GaussianLikelihood(operator=glue, y=torch.zeros_like(x_0))
        uphill = self.omega * pull(p.likelihood, x_0) + self.gamma * pull(glued, x_0)
        bridge = cast(GaussianKernel, p.diffusion.bridge(x_t, x_0, t, s, eta))
        return GaussianKernel(bridge.loc + vjp(uphill), bridge.var)


Map = Callable[[Tensor], Tensor]


class Glue(Operator):
    """x_0 -> x_0 - E(A^+ y + (1 - A^+ A) D(x_0))."""

    def __init__(self, A: SVDOperator, decode: Map, encode: Map, y: Tensor) -> None:
        super().__init__()
        self.A = A
        self.decode = decode
        self.encode = encode
        self.y = y

    def forward(self, x: Tensor) -> Tensor:
        image = self.decode(x)
        return x - self.encode(image + self.A.pinv(self.y - self.A(image)))


def parts(operator: Operator) -> tuple[SVDOperator, Map]:
    """Return A and D of A D; D is the identity where the prior has no decoder."""
    if isinstance(operator, Composed) and not isinstance(operator.inner, Operator):
        return cast(SVDOperator, operator.outer), operator.inner
    return cast(SVDOperator, operator), lambda x: x
