"""Score-SDE (Song et al., 2021): predictor and corrector, the data noised and put in at each."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel, Kernel, RotatedKernel, SplicedKernel
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator, SVDOperator
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid
from ..validation import Whole
from .base import Method
from .ddrm import spectral

__all__ = ["ScoreSDE", "splice"]

LinearGaussian = GaussianLikelihood[LinearOperator]


@dataclass(frozen=True, kw_only=True)
class ScoreSDE(Method[LinearGaussian]):
    """x_s = phi q(x_s | A^+ y) + (1 - phi) p(x_s | x_t), with phi = A^+ A.

    Before it, ``corrections`` Langevin steps N(x + h g, 2 h) at t, spliced likewise: g is the score
    at x and h = 2 (snr sigma_t)^2, which is 2 (snr ||z|| / ||g||)^2 with the norm that the score of
    the noise has; that of g itself would bend the law. The last step draws no noise. For exact
    data; noisy ones of an A with an SVD are spliced in its spectrum, where r_t is above theirs
    (``weld``). Heuristic. "Score-Based Generative Modeling through Stochastic Differential
    Equations", app. G and I.2, https://arxiv.org/abs/2011.13456.

    Arguments:
        steps: Length of the time grid; the paper has 1000.
        corrections: Langevin steps at each time.
        snr: Their size; the paper has 0.128 to 0.316, by data set.
        grid: How the times are spaced.
    """

    steps: int = 500
    corrections: Whole = 1
    snr: float = 0.16
    grid: Grid = "time"

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, LinearOperator

    def run(
        self,
        prior: Prior,
        likelihood: LinearGaussian,
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        x = x_T
        times = grid(prior.diffusion.schedule, self.grid, self.steps, self.start_time(prior))
        for i, (t, s) in enumerate(times.unfold(0, 2, 1)):
            for _ in range(self.corrections):
                x = weld(prior, likelihood, self.correct(prior, x, t), t).sample(noise)
            kernel = weld(prior, likelihood, prior.kernel(x, t, s), s)
            x = kernel.sample(noise) if i < self.steps - 1 else kernel.mean
            if callback is not None:
                callback(x, (i + 1) / self.steps)
        return x

    def correct(self, prior: Prior, x: Tensor, t: Tensor) -> GaussianKernel:
        """Return the Langevin step at time t."""
        alpha_t, sigma_t = prior.diffusion.schedule(t)
        g = (alpha_t * prior(x, t) - x) / sigma_t**2
        h = 2 * (self.snr * sigma_t) ** 2
        return GaussianKernel(x + h * g, 2 * h)


def splice(prior: Prior, likelihood: LinearGaussian, kernel: Kernel, s: Tensor) -> SplicedKernel:
    """Return the kernel with the range of A^T from the data, noised as at time s."""
    A, diffusion = likelihood.operator, cast(GaussianDiffusion, prior.diffusion)
    known = diffusion.noise(A.pinv(likelihood.y), s)
    return SplicedKernel(known, cast(GaussianKernel, kernel), lambda x: A.pinv(A(x)))


def weld(prior: Prior, likelihood: LinearGaussian, kernel: Kernel, s: Tensor) -> Kernel:
    """Return ``splice``, or where y is noisy and A has an SVD what knows the noise r_y = sigma / s.

    A direction of the spectrum is of the data while r_y is no more than the noise of the state, of
    which it is a part, and of the prior from then on.
    """
    A, rest = likelihood.operator, cast(GaussianKernel, kernel)
    if likelihood.sigma == 0 or not isinstance(A, SVDOperator):
        return splice(prior, likelihood, kernel, s)
    alpha_s, sigma_s = prior.diffusion.schedule(s)
    y, r_y = spectral(cast(GaussianLikelihood[SVDOperator], likelihood))
    seen = r_y <= sigma_s / alpha_s
    loc = torch.where(seen, alpha_s * y, A.to_spectrum(rest.loc))
    var = torch.where(seen, sigma_s**2 - torch.where(seen, alpha_s * r_y, 0) ** 2, rest.var)
    return RotatedKernel(GaussianKernel(loc, var), A.to_spectrum, A.from_spectrum)
