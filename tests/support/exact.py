"""Exact problems that many tests share, and how far a sample is from them."""

import torch
from torch import Tensor

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
