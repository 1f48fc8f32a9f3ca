"""Inverse problems with exact posteriors, against which methods are certified."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..likelihoods.data_step import exact
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator, SVDOperator
from ..operators.circular_blur import CircularBlur
from ..operators.matrix import Matrix
from ..priors.base import Prior
from ..priors.mixture import MixturePrior
from ..random import Noise
from ..schedules import Geometric

__all__ = ["ExactProblem", "FieldPrior", "FieldProblem", "MixtureProblem", "field", "mixture"]

FLOAT = torch.float64


@dataclass(frozen=True)
class ExactProblem(ABC):
    """A truth drawn from a prior, a measurement of it, and the exact posterior.

    Arguments:
        prior: Prior of the truth.
        likelihood: Likelihood of the measurement.
        truth: State that was measured, of shape ``(1, *shape)``.
    """

    prior: Prior
    likelihood: GaussianLikelihood[SVDOperator]
    truth: Tensor

    @abstractmethod
    def sample_posterior(self, noise: Noise) -> Tensor:
        """Return samples of the exact posterior, one for each row of ``noise``."""

    @abstractmethod
    def sample_prior(self, noise: Noise) -> Tensor:
        """Return samples of the prior, one for each row of ``noise``."""


@dataclass(frozen=True)
class MixtureProblem(ExactProblem):
    """A linear measurement of a mixture of isotropic Gaussians of unit variance."""

    prior: MixturePrior

    @cached_property
    def weights(self) -> Tensor:
        """Return the posterior weights of the components, of shape ``(K,)``: w_k p(y | k)."""
        evidence = self.likelihood.evidence(self.prior.means, 1.0)
        return (self.prior.log_weights + evidence).softmax(0)

    def sample_posterior(self, noise: Noise) -> Tensor:
        edges = self.weights.cumsum(0)
        k = torch.searchsorted(edges, noise.uniform(edges.new_empty(len(noise), 1)))[:, 0]
        m = self.prior.means[k.clamp_max(len(edges) - 1)]
        likelihood = cast(GaussianLikelihood[LinearOperator], self.likelihood)
        return exact(likelihood.select(torch.zeros_like(k)), m, torch.ones_like(edges[0]), noise)

    def sample_prior(self, noise: Noise) -> Tensor:
        return self.prior.sample(noise)


def mixture(d: int, dy: int, seed: int) -> MixtureProblem:
    """Return the problem of MCGDiff: dy linear measurements of a mixture of 25 Gaussians.

    The means are (-8 i, -8 j), repeated d / 2 times, for i and j from -2 to 2. The weights are
    squares of normal numbers. The singular values of A are uniform in [0, 1], and sigma is uniform
    between 0 and the largest of them: "Monte Carlo guided Diffusion for Bayesian linear inverse
    problems" (Cardoso et al., 2023), https://arxiv.org/abs/2308.07983. The largest noise level of
    the diffusion is ten times the distance of the farthest means, so that its end is
    N(0, sigma_1^2) to a twentieth of sigma_1.

    Arguments:
        d: Dimension, even.
        dy: Number of measured values.
        seed: Seed of the problem.
    """
    generator = torch.Generator().manual_seed(seed)
    i = -8 * torch.arange(-2, 3, dtype=FLOAT)
    means = torch.cartesian_prod(i, i).repeat(1, d // 2)
    w = torch.randn(25, generator=generator, dtype=FLOAT) ** 2
    A = torch.randn(dy, d, generator=generator, dtype=FLOAT)
    U, _, Vh = torch.linalg.svd(A, full_matrices=False)
    s = torch.rand(dy, generator=generator, dtype=FLOAT).sort(descending=True).values
    A = U @ (s[:, None] * Vh)
    sigma = float(torch.rand(1, generator=generator, dtype=FLOAT) * s.max())
    k = torch.multinomial(w, 1, generator=generator)
    x = means[k] + torch.randn(1, d, generator=generator, dtype=FLOAT)
    y = x @ A.T + sigma * torch.randn(1, dy, generator=generator, dtype=FLOAT)
    sigma_max = 10 * float((means[0] - means[-1]).norm())
    diffusion = GaussianDiffusion(Geometric(sigma_min=0.02, sigma_max=sigma_max))
    prior = MixturePrior(w, means, torch.ones(25, dtype=FLOAT), diffusion)
    likelihood = GaussianLikelihood(operator=Matrix(A), y=y, sigma=sigma)
    return MixtureProblem(prior, likelihood, x)


class FieldPrior(Prior):
    """A stationary Gaussian field on a torus: N(0, V diag(spectrum) V), V the Hartley transform.

    Arguments:
        spectrum: Variance of each frequency f, of shape ``(1, H, W)``, equal to that of -f.
    """

    spectrum: Tensor

    def __init__(self, spectrum: Tensor) -> None:
        super().__init__()
        self.diffusion: GaussianDiffusion = GaussianDiffusion()
        self.shape = tuple(spectrum.shape)
        self.register_buffer("spectrum", spectrum)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = self.diffusion.schedule(t)
        gain = alpha_t * self.spectrum / (alpha_t**2 * self.spectrum + sigma_t**2)
        return hartley(gain * hartley(x_t))


@dataclass(frozen=True)
class FieldProblem(ExactProblem):
    """A Gaussian field, blurred by a circular convolution.

    Both are diagonal in the basis V: the field with variances C, the blur with gains s. The
    posterior is x | y ~ N(V P V A^T y / sigma^2, V P V), with P = (1 / C + s^2 / sigma^2)^-1.
    """

    prior: FieldPrior

    @cached_property
    def spectrum(self) -> Tensor:
        """Return P, of shape ``(1, H, W)``."""
        return 1 / (
            1 / self.prior.spectrum + (self.likelihood.operator.s / self.likelihood.sigma) ** 2
        )

    @cached_property
    def mean(self) -> Tensor:
        """Return the exact mean, of shape ``(1, 1, H, W)``."""
        back = self.likelihood.operator.adjoint(self.likelihood.y) / self.likelihood.sigma**2
        return hartley(self.spectrum * hartley(back))

    @cached_property
    def var(self) -> Tensor:
        """Return the exact variance of a pixel, which is the same for all."""
        return self.spectrum.mean()

    def sample_posterior(self, noise: Noise) -> Tensor:
        rows = self.mean.expand(len(noise), *self.prior.shape)
        return rows + hartley(self.spectrum.sqrt() * noise.normal(rows))

    def sample_prior(self, noise: Noise) -> Tensor:
        spectrum = self.prior.spectrum
        return hartley(spectrum.sqrt() * noise.normal(spectrum.expand(len(noise), *spectrum.shape)))


def field(size: int, seed: int) -> FieldProblem:
    """Return a field of standard deviation 0.5 and spectrum (1 + f)^-3, blurred by 2 pixels.

    The noise level is 0.05.
    """
    f = torch.fft.fftfreq(size, 1 / size, dtype=FLOAT)
    spectrum = (1 + (f**2 + f[:, None] ** 2).sqrt()) ** -3
    prior = FieldPrior(0.25 * (spectrum / spectrum.mean())[None])
    noise = Noise(seed, ["truth"])
    truth = hartley(prior.spectrum.sqrt() * noise.normal(prior.spectrum[None]))
    A = CircularBlur("gaussian:2", prior.shape).to(FLOAT)
    likelihood = GaussianLikelihood(operator=A, sigma=0.05).measure(truth, noise)
    return FieldProblem(prior, likelihood, truth)


def hartley(x: Tensor) -> Tensor:
    """Return the Hartley transform V x; V = V^T = V^-1."""
    z: Tensor = torch.fft.fft2(x, norm="ortho")
    return z.real - z.imag
