"""FPS (Dou and Song, 2024): a particle filter along a noised path of the measurement."""

from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..kernels import GaussianKernel
from ..likelihoods.data_step import exact
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator, SVDOperator
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid
from .base import Method
from .smc import resample

__all__ = ["FPS"]


@dataclass(frozen=True, kw_only=True)
class FPS(Method[GaussianLikelihood[SVDOperator]]):
    """Particles x_s ~ p(x_s | x_t) p(y_s | x_s), resampled by p(y_s | x_t).

    y_s = alpha_s y + A w_s measures x_s with noise alpha_s sigma, along one path w of the noise
    process from t = 1 to w_0 = 0. For exact data the particles converge to the posterior as their
    number grows, up to the error of the time steps. For noisy data heuristic: all y_s hold the
    same noise, and are weighed as if each had its own, so that the spread is too small.
    "Diffusion Posterior Sampling for Linear Inverse Problem Solving: A Filtering Perspective",
    algorithm 2, https://openreview.net/forum?id=tplXNcHZs1.

    Arguments:
        steps: Steps of the chain.
        grid: How its times are spaced.
    """

    steps: int = 200
    grid: Grid = "logsnr"

    joint: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, SVDOperator

    def run(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[SVDOperator],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        diffusion, x, origin = prior.diffusion, x_T, torch.zeros_like(x_T[:1])
        times = grid(diffusion.schedule, self.grid, self.steps, self.start_time(prior))
        w = diffusion.noise(origin, times[0]).sample(noise.rows([0]))
        for i, (t, s) in enumerate(times.unfold(0, 2, 1)):
            w = diffusion.bridge(w, origin, t, s).sample(noise.rows([0]))
            alpha_s = float(diffusion.schedule(s)[0])
            y_s = alpha_s * likelihood.y + likelihood.operator(w)
            data = replace(likelihood, y=y_s, sigma=alpha_s * likelihood.sigma)
            p = cast(GaussianKernel, prior.kernel(x, t, s))
            k = resample(data.evidence(p.loc, p.var), noise)
            x = exact(cast(GaussianLikelihood[LinearOperator], data), p.loc[k], p.var, noise)
            if callback is not None:
                callback(x, (i + 1) / self.steps)
        return x
