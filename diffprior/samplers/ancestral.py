"""Ancestral sampling (Sohl-Dickstein et al., 2015; Ho et al., 2020): draw every kernel in turn."""

from dataclasses import dataclass

from torch import Tensor

from ..kernels import BernoulliKernel
from ..priors.base import Prior
from ..random import Noise
from ..validation import Share
from .base import Sampler

__all__ = ["Ancestral"]


@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """x_s ~ p(x_s | x_t), for bits as for pixels. Converges in law as the steps grow.

    For a consistency function it is that model's multistep sampling, right at any number of steps.
    "Denoising Diffusion Probabilistic Models" (Ho et al., 2020), https://arxiv.org/abs/2006.11239.

    Arguments:
        temperature: Deviation of the noise that is drawn over that of the kernels: 1 is the paper;
            below it the answer is nearer to a mean than a sample is, and spreads too little.
    """

    temperature: Share = 1.0

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: None, noise: Noise | None
    ) -> tuple[Tensor, None]:
        if noise is None:
            raise TypeError("Ancestral draws noise: give it a stream")
        kernel = prior.kernel(x_t, t, s)
        x_s = kernel.sample(noise)
        if self.temperature == 1:
            return x_s, None
        if isinstance(kernel, BernoulliKernel):
            raise ValueError(f"bits have no temperature but 1, got {self.temperature}")
        return kernel.mean.lerp(x_s, self.temperature), None
