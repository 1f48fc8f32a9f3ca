"""Exact problems that many tests share, and how far a sample is from them."""

import torch
from torch import Tensor

from diffprior.diffusions import GaussianDiffusion
from diffprior.priors.base import Prior
from diffprior.priors.mixture import MixturePrior
from diffprior.schedules import Schedule


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


def three_components() -> MixturePrior:
    """Return a mixture of three correlated components in two dimensions."""
    L = random(3, 2, 2, seed=2) / 3
    cov = L @ L.mT + 0.05 * torch.eye(2, dtype=torch.float64)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    return MixturePrior(weights, 1.5 * random(3, 2, seed=3), cov)


QUICK = {  # settings that keep the calls of a step few
    "langevin": {"repeats": 4, "size": 0.1},
    "dpm_solver": {"order": 2},
}


def quick(name: str, **settings: object) -> str:
    """Return the text of a sampler with these settings, and few calls a step."""
    chosen = {**QUICK.get(name, {}), **settings}
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in chosen.items())})"


class Many(Prior):
    """n independent states of a prior as one state: one stream draws the noise of all of them."""

    def __init__(self, inner: MixturePrior, n: int) -> None:
        super().__init__()
        self.inner = inner
        self.diffusion = inner.diffusion
        self.shape = (n * inner.means.shape[1],)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.inner(x_t.reshape(-1, *self.inner.shape), t).reshape_as(x_t)


def on(prior: MixturePrior, schedule: Schedule) -> MixturePrior:
    """Return the mixture under another schedule."""
    weights = prior.log_weights.exp()
    return MixturePrior(weights, prior.means, prior.covs(), GaussianDiffusion(schedule))


def many(prior: MixturePrior, n: int, schedule: Schedule | None = None) -> Many:
    """Return n independent states of a mixture of vectors as one state, ``(1, n * D)``."""
    return Many(prior if schedule is None else on(prior, schedule), n)
