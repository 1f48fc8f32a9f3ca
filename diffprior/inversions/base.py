"""An inversion writes a picture as a code, and reads it back, through the same prior or another."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid

__all__ = ["Code", "Inversion", "level", "noise_of"]

Code = dict[str, Tensor]  # tensors with the rows of the pictures, by name


@dataclass(frozen=True, kw_only=True)
class Inversion(ABC):
    """A way up the time grid that leaves what it takes to come down again.

    Arguments:
        steps: Steps of the chain.
        grid: How its times are spaced: ``time``, ``logsnr`` or ``karras``.
        stop: The time up to which the picture is noised; 1 is all the way.
    """

    steps: int = 50
    grid: Grid = "logsnr"
    stop: float = 1.0

    @torch.no_grad()
    def encode(self, prior: Prior, x_0: Tensor, noise: Noise | None = None) -> Code:
        """Return the code of states ``(B, *prior.shape)``; inversions that draw need ``noise``."""
        self._check(prior)
        return self.up(prior, x_0, self._times(prior).flip(0), noise)

    @torch.no_grad()
    def decode(self, prior: Prior, code: Code) -> Tensor:
        """Return the states of a code; what was encoded, if the prior is the same."""
        self._check(prior)
        return self.down(prior, code, self._times(prior))

    @abstractmethod
    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None) -> Code:
        """Return the code; ``times`` ascend."""

    @abstractmethod
    def down(self, prior: Prior, code: Code, times: Tensor) -> Tensor:
        """Return the states; ``times`` descend."""

    def _times(self, prior: Prior) -> Tensor:
        return grid(prior.diffusion.schedule, self.grid, self.steps, self.stop)

    def _check(self, prior: Prior) -> None:
        if not isinstance(prior.diffusion, GaussianDiffusion):
            raise TypeError(
                f"{type(self).__name__} needs a GaussianDiffusion, "
                f"got {type(prior.diffusion).__name__}"
            )


def level(prior: Prior, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return (a, b) of the flow's first-order step x_s = a x_t + b eps(x_t, t)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (prior.diffusion.schedule(u) for u in (t, s))
    a = alpha_s / alpha_t
    return a, sigma_s - a * sigma_t


def noise_of(prior: Prior, x_t: Tensor, t: Tensor) -> Tensor:
    """Return eps(x_t, t) = (x_t - alpha_t E[x_0 | x_t]) / sigma_t."""
    alpha_t, sigma_t = prior.diffusion.schedule(t)
    return (x_t - alpha_t * prior(x_t, t)) / sigma_t
