"""Ancestral sampling (Sohl-Dickstein et al., 2015; Ho et al., 2020): draw every kernel in turn."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from ..errors import SettingError, UnsuitedError
from ..kernels import BernoulliKernel, GaussianKernel, Kernel
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
        variance: v of the variance beta_tilde^(1 - v) beta^v of the kernels. 0 is beta_tilde, that
            of the posterior of the forward chain, right for one point; 1 is beta, that of its
            steps, right for a standard normal. ``learned`` is the v that the network says, pixel by
            pixel, in one more call a step: "Improved Denoising Diffusion Probabilistic Models"
            (Nichol and Dhariwal, 2021), eq. 15, https://arxiv.org/abs/2102.09672. The last step has
            v = 0.
    """

    bits: ClassVar[bool] = True

    temperature: Share = 1.0
    variance: Share | Literal["learned"] = 0.0

    @property
    def draws(self) -> bool:
        return True

    def step(
        self,
        prior: Prior,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        carry: Prior | None,
        noise: Noise | None,
    ) -> tuple[Tensor, Prior | None]:
        stream = self.stream(noise)
        shares = prior.shares() if carry is None and self.variance == "learned" else carry
        kernel = prior.kernel(x_t, t, s)
        if self.variance != 0 and s > 0:
            share = self.variance if shares is None else shares(x_t, t)
            kernel = _widened(kernel, share, prior, x_t, (t, s))
        del x_t  # a large one is not held while the next one is drawn
        x_s = kernel.sample(stream)
        if self.temperature == 1:
            return x_s, shares
        if isinstance(kernel, BernoulliKernel):
            raise UnsuitedError(f"bits have no temperature but 1, got {self.temperature}")
        return kernel.mean.lerp(x_s, self.temperature), shares


def _widened(
    kernel: Kernel, share: Any, prior: Prior, x_t: Tensor, ends: tuple[Tensor, Tensor]
) -> GaussianKernel:
    """Return the kernel with the variance beta_tilde^(1 - v) beta^v, v its share.

    Raises:
        SettingError: If the kernels of the prior have one variance.
    """
    t, s = ends
    beta = prior.diffusion.jump(x_t, s, t)
    if (
        prior.consistency
        or not isinstance(kernel, GaussianKernel)
        or not isinstance(beta, GaussianKernel)
    ):
        raise SettingError(f"kernels of {prior.name} have one variance: set variance=0")
    return replace(kernel, var=kernel.var ** (1 - share) * beta.var**share)
