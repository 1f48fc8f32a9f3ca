"""Score-SDE (Song et al., 2021): predictor and corrector, each with the noised data put in."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel, RotatedKernel, SplicedKernel
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator, SVDOperator
from ..priors.base import Prior
from ..random import Noise
from ..samplers.langevin import langevin_step
from ..samplers.predictor_corrector import corrector_size
from ..schedules import Grid
from ..validation import Whole
from .base import ChainMethod, LinearGaussian, LinearPosterior, Needs
from .ddrm import spectral

__all__ = ["ScoreSDE", "splice"]


@dataclass(frozen=True, kw_only=True)
class ScoreSDE(ChainMethod[LinearGaussian]):
    """x_s = phi q(x_s | A^+ y) + (1 - phi) p(x_s | x_t), with phi = A^+ A.

    Before it come ``corrections`` Langevin steps N(x + h g, 2 h) at t, spliced likewise: g is the
    score at x and h = 2 (snr sigma_t)^2, which is 2 (snr ||z|| / ||g||)^2 with the norm that the
    score of the noise has; the norm of g itself would bend the law. The last step draws no noise.
    For exact data; noisy data of an A with an SVD are spliced in its spectrum, where r_t is above
    their noise (``weld``). Heuristic. "Score-Based Generative Modeling through Stochastic
    Differential Equations", app. G and I.2, https://arxiv.org/abs/2011.13456.

    Arguments:
        steps: Length of the time grid; the paper has 1000.
        corrections: Langevin steps at each time.
        snr: Their size; the paper has 0.128 to 0.316, by data set.
    """

    steps: int = 500
    grid: Grid = "time"
    corrections: Whole = 1
    snr: float = 0.16

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, LinearOperator)

    def run(self, p: LinearPosterior, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        x = x_T
        for t, s, report in self.chain(p.prior, callback):
            for _ in range(self.corrections):
                x = weld(p, self.correct(p.prior, x, t), t).sample(noise)
            kernel = weld(p, p.prior.kernel(x, t, s), s)
            x = kernel.sample(noise) if s > 0 else kernel.mean
            report(x)
        return x

    def correct(self, prior: Prior, x: Tensor, t: Tensor) -> GaussianKernel:
        """Return the Langevin step at time t."""
        return langevin_step(prior, x, t, corrector_size(self.snr))


def splice(p: LinearPosterior, kernel: Kernel, s: Tensor) -> SplicedKernel:
    """Return the kernel with the range of A^T from the data, noised as at time s."""
    A = p.likelihood.operator
    data = cast(GaussianDiffusion, p.diffusion).noise(A.pinv(p.likelihood.y), s)
    return SplicedKernel(data, cast(GaussianKernel, kernel), lambda x: A.pinv(A(x)))


def weld(p: LinearPosterior, kernel: Kernel, s: Tensor) -> Kernel:
    """Return ``splice``, or where y is noisy and A has an SVD one that uses the noise of y.

    A direction of the spectrum is the data's while their noise r_y = sigma / s is at most that of
    the state, of which it is then a part; below, it is the prior's.
    """
    A = p.likelihood.operator
    rest = cast(GaussianKernel, kernel)
    if p.likelihood.sigma == 0 or not isinstance(A, SVDOperator):
        return splice(p, kernel, s)
    alpha_s, sigma_s = p.schedule(s)
    y, r_y = spectral(cast(GaussianLikelihood[SVDOperator], p.likelihood))
    from_data = r_y <= sigma_s / alpha_s
    data_var = sigma_s**2 - torch.where(from_data, alpha_s * r_y, 0) ** 2
    loc = torch.where(from_data, alpha_s * y, A.to_spectrum(rest.loc))
    var = torch.where(from_data, data_var, rest.var)
    return RotatedKernel(GaussianKernel(loc, var), A.to_spectrum, A.from_spectrum)
