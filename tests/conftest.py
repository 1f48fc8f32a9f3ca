"""Exact problems that many tests share, and how far a sample is from them."""

import pytest
import torch
from torch import Tensor

from diffprior.likelihoods import GaussianLikelihood
from diffprior.operators.matrix import Matrix
from diffprior.priors.mixture import MixturePrior


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def moments(prior: MixturePrior) -> tuple[Tensor, Tensor]:
    """Return the exact mean ``(D,)`` and covariance ``(D, D)`` of a mixture."""
    w = prior.log_weights.exp()
    mean = w @ prior.means
    spread = prior.means - mean
    return mean, torch.einsum("k,kde->de", w, prior.covs() + spread[:, :, None] * spread[:, None])


def deviations(x: Tensor, mean: Tensor, cov: Tensor) -> float:
    """Return by how many standard errors the worst of the first two moments of ``x`` is off."""
    d = x.flatten(1) - mean
    products = d[:, :, None] * d[:, None]
    errors = d.mean(0).abs() / (cov.diagonal() / len(x)).sqrt()
    second = (products.mean(0) - cov).abs() / (products.std(0) / len(x) ** 0.5)
    return max(errors.max().item(), second.max().item())


@pytest.fixture
def gaussian() -> MixturePrior:
    """One Gaussian in four dimensions, with correlations."""
    L = random(4, 4) / 2
    cov = L @ L.T + 0.1 * torch.eye(4, dtype=torch.float64)
    return MixturePrior(torch.ones(1, dtype=torch.float64), random(1, 4, seed=1), cov[None])


@pytest.fixture
def bimodal() -> MixturePrior:
    """Three correlated components in two dimensions."""
    L = random(3, 2, 2, seed=2) / 3
    cov = L @ L.mT + 0.05 * torch.eye(2, dtype=torch.float64)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    return MixturePrior(weights, 1.5 * random(3, 2, seed=3), cov)


@pytest.fixture
def seen() -> GaussianLikelihood[Matrix]:
    """Two mixed measurements of four entries."""
    A = random(2, 4, seed=4)
    y = torch.tensor([[0.5, -0.3]], dtype=torch.float64)
    return GaussianLikelihood(operator=Matrix(A), y=y, sigma=0.3)
