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
from ..operators.base import SVDOperator
from ..random import Noise
from .base import ChainMethod, LinearGaussian, Needs, SVDPosterior
from .smc import resample

__all__ = ["FPS"]


@dataclass(frozen=True, kw_only=True)
class FPS(ChainMethod[GaussianLikelihood[SVDOperator]]):
    """Particles x_s ~ p(x_s | x_t) p(y_s | x_s), resampled by p(y_s | x_t).

    y_s = alpha_s y + A w_s measures x_s with noise alpha_s sigma, along one path w of the noise
    process from t = 1 to w_0 = 0. For exact data the particles converge to the posterior as their
    number grows, up to the error of the time steps. For noisy data it is heuristic: all y_s have
    the same noise and are weighted as if each had its own, so that the spread is too small.
    "Diffusion Posterior Sampling for Linear Inverse Problem Solving: A Filtering Perspective",
    algorithm 2, https://openreview.net/forum?id=tplXNcHZs1.
    """

    joint: ClassVar[bool] = True
    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, SVDOperator)

    def run(self, p: SVDPosterior, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        x = x_T
        origin = torch.zeros_like(x_T[:1])
        first = self.times(p.prior)[0]
        w = p.diffusion.noise(origin, first).sample(noise.rows([0]))
        for t, s, report in self.chain(p.prior, callback):
            w = p.diffusion.bridge(w, origin, t, s).sample(noise.rows([0]))
            alpha_s = float(p.schedule(s)[0])
            y_s = alpha_s * p.likelihood.y + p.likelihood.operator(w)
            data = replace(p.likelihood, y=y_s, sigma=alpha_s * p.likelihood.sigma)
            prediction = cast(GaussianKernel, p.prior.kernel(x, t, s))
            k = resample(data.evidence(prediction.loc, prediction.var), noise)
            x = exact(cast(LinearGaussian, data), prediction.loc[k], prediction.var, noise)
            report(x)
        return x
