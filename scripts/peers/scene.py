"""What a run of a peer gets: a prior, a likelihood, and a seed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffprior.diffusions import GaussianDiffusion
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.priors.base import Prior, Wrapper
from diffprior.priors.counted import CountedPrior
from diffprior.schedules import Schedule

__all__ = ["CachedPrior", "Run", "Scene"]


class CachedSchedule(Schedule):
    """A schedule that caches the times of noise levels, so that no peer pays for looking them up.

    Arguments:
        schedule: Schedule to wrap.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.times: dict[tuple[float, ...], Tensor] = {}

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.schedule(t)

    def time(self, ratio: Tensor | float) -> Tensor:
        """Return the times of noise levels sigma_t / alpha_t."""
        ratio = torch.as_tensor(ratio)
        key = tuple(ratio.flatten().tolist())
        if key not in self.times:
            self.times[key] = self.schedule.time(ratio)
        return self.times[key].reshape(ratio.shape)


class CachedPrior(Wrapper):
    """The same prior with a cached schedule.

    Arguments:
        inner: Prior to wrap.
        diffusion: Diffusion with a cached schedule; by default a new one.
    """

    def __init__(self, inner: Prior, diffusion: GaussianDiffusion | None = None) -> None:
        super().__init__(inner)
        self.diffusion: GaussianDiffusion = diffusion or GaussianDiffusion(
            CachedSchedule(inner.diffusion.schedule)
        )

    def with_inner(self, inner: Prior) -> "CachedPrior":
        """Return the wrapper around another prior."""
        return CachedPrior(inner, self.diffusion)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x_0 | x_t]."""
        return self.inner(x_t, t)


class Scene(NamedTuple):
    """The likelihood of a batch of measurements, and the prior of the images."""

    prior: CountedPrior
    likelihood: GaussianLikelihood[Any]
    seed: int = 0

    @property
    def y(self) -> Tensor:
        """The measurements, of shape ``(B, m)``."""
        return self.likelihood.y.flatten(1)

    @property
    def var(self) -> float:
        """The variance of the noise."""
        return self.likelihood.sigma**2

    def A(self, x: Tensor) -> Tensor:
        """Return A x for flattened states."""
        y: Tensor = self.likelihood.operator(x.reshape(-1, *self.prior.shape))
        return y.flatten(1)

    def pinv(self, y: Tensor) -> Tensor:
        """Return A^+ y for flattened measurements."""
        x: Tensor = self.likelihood.operator.pinv(y.reshape(-1, *self.likelihood.y.shape[1:]))
        return x.flatten(1)


Run = Callable[[Scene, int], Tensor]  # of a scene and a number of network calls
