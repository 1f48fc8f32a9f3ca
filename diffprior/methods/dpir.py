"""DPIR (Zhang et al., 2021): annealed plug-and-play, denoiser and data in turn."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator
from ..priors.base import Prior
from ..random import Noise
from ..schedules import grid
from ..validation import Positive
from .base import Method

__all__ = ["DPIR"]


@dataclass(frozen=True, kw_only=True)
class DPIR(Method[GaussianLikelihood[LinearOperator]]):
    """x_0 = D(x; r), then x = argmin_z ||y - A z||^2 + rho ||z - x_0||^2.

    rho = weight sigma^2 / r^2, and the noise level r falls from one round to the next. Any
    linear A: by its SVD, or by CG. Deterministic and noise-free: close to a posterior mean, it
    favors PSNR over texture. Heuristic. "Plug-and-Play Image Restoration with Deep Denoiser
    Prior", https://arxiv.org/abs/2008.13751.

    Without a guess it begins with E[x | y] under x ~ N(0, I): A^+ y, but for noise that A^+ would
    blow up. The paper has levels from 49 / 255 of [0, 1], as here, in 8 rounds for blur and 24 for
    super-resolution.

    Arguments:
        start, stop: First and last noise level, in units of the image ([-1, 1]); neither is
            ever below the noise of the data. The levels between fall geometrically.
        steps: How many levels.
        weight: Trust in the prior beside noisy data (lambda in the paper); exact data are kept.
    """

    start: float | None = 98 / 255
    stop: Positive = 0.01
    steps: int = 30
    weight: Positive = 0.23

    stochastic: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, LinearOperator

    def initial(
        self,
        prior: Prior,
        likelihood: Likelihood[Any],
        guess: Tensor | None,
        images: Tensor,
        noise: Noise,
    ) -> Tensor:
        if guess is None:
            known = cast(GaussianLikelihood[LinearOperator], likelihood)
            guess = known.condition(prior.like.new_zeros(len(known.y), *prior.shape), 1.0)
        return super().initial(prior, likelihood, guess, images, noise)

    def noised(self, prior: Prior, x_0: Tensor, noise: Noise) -> Tensor:
        return x_0

    def run(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[LinearOperator],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        x, schedule = x_T, prior.diffusion.schedule
        end = float(schedule.time(max(self.stop, likelihood.sigma)))
        times = grid(
            schedule, "logsnr", max(self.steps - 1, 1), max(self.start_time(prior), end), end
        )
        for i, t in enumerate(times[: self.steps]):
            alpha_t, sigma_t = schedule(t)
            x_0 = prior(alpha_t * x, t)
            x = likelihood.condition(x_0, (sigma_t / alpha_t) ** 2 / self.weight)
            if callback is not None:
                callback(x, (i + 1) / self.steps)
        return x if likelihood.sigma == 0 else x_0
