"""Likelihoods with noise that is not Gaussian, for images in [-1, 1].

If the noise depends on the light, A must map images to images, as masks, blurs and averages do.
A x + 1 is the light: 0 for black, 2 for white. Every ``log_prob`` is the complete log-density of y,
including constants.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..random import Noise
from .base import Likelihood, O

__all__ = [
    "LaplaceLikelihood",
    "PoissonGaussianLikelihood",
    "PoissonLikelihood",
    "SaltPepperLikelihood",
    "SpeckleLikelihood",
]


@dataclass(frozen=True, kw_only=True)
class PoissonLikelihood(Likelihood[O]):
    """Photon counts: y = 2 n / peak - 1, with n ~ Poisson(peak max(A x + 1, 0) / 2 + dark).

    log p(y | x) = sum n log lambda - lambda - log n!, the log-probability of the counts.

    Arguments:
        peak: Mean number of photons of a white pixel.
        dark: Mean number of counts without light; it keeps log p finite where A x is black.
    """

    peak: float
    dark: float = 0.01

    def __post_init__(self) -> None:
        _above_zero(peak=self.peak, dark=self.dark)

    def rate(self, x: Tensor) -> Tensor:
        """Return lambda, the mean number of photons of each entry of y."""
        return self.peak * (self.operator(x) + 1).clamp_min(0) / 2 + self.dark

    def log_prob(self, x: Tensor) -> Tensor:
        n = self.peak * (self.operator.mask_unmeasured(self.y) + 1) / 2
        rate = self.rate(x)
        return _total(self, n * rate.log() - rate - torch.lgamma(n + 1))

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        return self.operator.mask_unmeasured(2 * _poisson(self.rate(x), noise) / self.peak - 1)


@dataclass(frozen=True, kw_only=True)
class PoissonGaussianLikelihood(Likelihood[O]):
    """Shot noise and read noise: y = a n - 1 + b eps, with n ~ Poisson(max(A x + 1, 0) / a).

    The density is approximated by the Gaussian with the same mean and variance,
    y ~ N(A x, v) with v = a max(A x + 1, 0) + b^2, so
    log p(y | x) = -sum (y - A x)^2 / (2 v) + log(2 pi v) / 2. ``sample`` draws the photons.
    "Practical Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data" (Foi et
    al., 2008), https://doi.org/10.1109/TIP.2008.2001399.

    Arguments:
        a: Increment of y per photon, 2 / peak; twice that of the paper, whose images are in [0, 1].
        b: Standard deviation of the read noise, in the units of y; twice the square root of the
            parameter b of the paper.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        _above_zero(a=self.a, b=self.b)

    def log_prob(self, x: Tensor) -> Tensor:
        mean = self.operator(x)
        var = self.a * (mean + 1).clamp_min(0) + self.b**2
        return _total(self, _normal(self.operator.mask_unmeasured(self.y) - mean, var))

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        n = _poisson((self.operator(x) + 1).clamp_min(0) / self.a, noise)
        return self.operator.mask_unmeasured(self.a * n - 1 + self.b * noise.normal(n))


@dataclass(frozen=True, kw_only=True)
class SpeckleLikelihood(Likelihood[O]):
    """Multiplicative noise: y = A x + sigma l eps, with the light l = max(A x + 1, floor).

    In [0, 1] units it is light (1 + sigma eps): the image times a Gaussian with mean 1.
    log p(y | x) = -sum (y - A x)^2 / (2 sigma^2 l^2) + log(2 pi sigma^2 l^2) / 2.

    Arguments:
        sigma: Standard deviation of the factor, without a unit.
        floor: Least light, in the units of y; it keeps log p finite where A x is black.
    """

    sigma: float
    floor: float = 2 / 255

    def __post_init__(self) -> None:
        _above_zero(sigma=self.sigma, floor=self.floor)

    def log_prob(self, x: Tensor) -> Tensor:
        mean = self.operator(x)
        deviation = self.sigma * (mean + 1).clamp_min(self.floor)
        return _total(self, _normal(self.operator.mask_unmeasured(self.y) - mean, deviation**2))

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        mean = self.operator(x)
        deviation = self.sigma * (mean + 1).clamp_min(self.floor)
        return self.operator.mask_unmeasured(mean + deviation * noise.normal(mean))


@dataclass(frozen=True, kw_only=True)
class LaplaceLikelihood(Likelihood[O]):
    """Heavy-tailed noise: y = A x + b e, where e has the density exp(-|e|) / 2.

    log p(y | x) = -sum |y - A x| / b + log(2 b). Any A.

    Arguments:
        b: Mean absolute value of the noise, in the units of y; its standard deviation is
            sqrt(2) b.
    """

    b: float

    def __post_init__(self) -> None:
        _above_zero(b=self.b)

    def log_prob(self, x: Tensor) -> Tensor:
        r = self.operator.mask_unmeasured(self.y) - self.operator(x)
        return _total(self, -r.abs() / self.b - math.log(2 * self.b))

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        clean = self.operator(x)
        e = (-2 * torch.log1p(-noise.uniform(clean))).sqrt() * noise.normal(clean)
        return self.operator.mask_unmeasured(clean + self.b * e)


@dataclass(frozen=True, kw_only=True)
class SaltPepperLikelihood(Likelihood[O]):
    """Outliers: y = c + sigma eps, with c = A x, or 1 or -1 with probability rate / 2 each.

    log p(y | x) = sum log((1 - rate) N(y; A x, sigma^2)
    + rate / 2 (N(y; 1, sigma^2) + N(y; -1, sigma^2))). Any A.

    An entry near 1 or -1 and far from A x counts as an outlier, and its score goes to zero.

    Arguments:
        rate: Share of outliers, in (0, 1).
        sigma: Standard deviation of the Gaussian noise of all entries, in the units of y. For
            8-bit files it is at least that of the rounding, 0.0023.
    """

    rate: float
    sigma: float = 0.02

    def __post_init__(self) -> None:
        _above_zero(rate=self.rate, sigma=self.sigma)
        if not self.rate < 1:
            raise ValueError(f"rate is a share of outliers below 1, got {self.rate}")

    def log_prob(self, x: Tensor) -> Tensor:
        y = self.operator.mask_unmeasured(self.y)
        mean = self.operator(x)
        kept = math.log(1 - self.rate) + _normal(y - mean, self.sigma**2)
        salt, pepper = (math.log(self.rate / 2) + _normal(y - c, self.sigma**2) for c in (1, -1))
        return _total(self, torch.logaddexp(kept, torch.logaddexp(salt, pepper)))

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        c = self.operator(x)
        u = noise.uniform(c) / self.rate
        c = torch.where(u < 1 / 2, 1, torch.where(u < 1, -1, c))
        return self.operator.mask_unmeasured(c + self.sigma * noise.normal(c))


def _above_zero(**settings: float) -> None:
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name} is a number above 0, got {value}")


def _total(likelihood: Likelihood[O], terms: Tensor) -> Tensor:
    return likelihood.operator.mask_unmeasured(terms).flatten(1).sum(1)


def _normal(r: Tensor, var: Tensor | float) -> Tensor:
    """Return log N(r; 0, var) of each entry."""
    return -(r**2) / (2 * var) - torch.as_tensor(2 * torch.pi * var).log() / 2


def _poisson(rate: Tensor, noise: Noise) -> Tensor:
    """Draw counts with these rates; the stream of each row seeds its generator."""
    seeds = 2**24 * noise.uniform(torch.empty(len(rate), 4))
    rows = zip(seeds.long().tolist(), rate.cpu().double().numpy(), strict=True)
    counts = np.stack([np.random.default_rng(seed).poisson(row) for seed, row in rows])
    return torch.from_numpy(counts).to(rate)
