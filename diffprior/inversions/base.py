"""An inversion writes an image as a code, and reads it back, through the same prior or another."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ..batching import StepCallback
from ..diffusions import GaussianDiffusion
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid
from ..validation import Checked, Within

__all__ = ["Code", "Inversion", "Keep", "inverse_step", "flow_coefficients", "predict_eps"]

Code = dict[str, Tensor]  # tensors with the rows of the images, by name
Keep = Callable[[Tensor], Tensor]  # of what is noted at a step: what is left of it in the code


@dataclass(frozen=True, kw_only=True)
class Inversion(Checked, ABC):
    """A way up the time grid that leaves what it takes to come down again.

    Arguments:
        steps: Steps of the chain.
        grid: How its times are spaced: ``time``, ``logsnr``, ``karras``, ``vp`` or ``quad``.
        stop: The time up to which the image is noised; 1 is all the way.
    """

    steps: int = 50
    grid: Grid = "logsnr"
    stop: Annotated[float, Within(0, 1, above=True)] = 1.0

    guided: ClassVar[bool] = False  # True where it is one at the guidance of the edit

    @property
    def calls(self) -> int:
        """Return how often ``encode`` calls the prior, for a bar of progress."""
        return self.steps

    @torch.no_grad()
    def encode(
        self, prior: Prior, x_0: Tensor, noise: Noise | None = None, *, half: bool = False
    ) -> Code:
        """Return the code of states ``(B, *prior.shape)``; inversions that draw need ``noise``.

        Arguments:
            half: Whether what is noted at every step fits into half precision; the next step makes
                up for what that loses. States stay in full, as the way down makes errors grow.
        """
        self._check(prior)
        return self.up(prior, x_0, self.times(prior).flip(0), noise, _short if half else _whole)

    @torch.no_grad()
    def decode(self, prior: Prior, code: Code, each: StepCallback = lambda x, i: x) -> Tensor:
        """Return the states of a code; what was encoded, if the prior is the same.

        Arguments:
            each: Called after each step, from number 0 on; what it returns is gone on with.
        """
        self._check(prior)
        return self.down(prior, code, self.times(prior), each)

    def edit_prior(self, target: Prior, source: Prior) -> Prior:
        """Return the prior that an edit of a source goes down with: ``target``, or one near it."""
        return target

    @abstractmethod
    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        """Return the code; ``times`` ascend, and what is noted at a step is brought to ``keep``."""

    @abstractmethod
    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        """Return the states; ``times`` descend."""

    def times(self, prior: Prior) -> Tensor:
        """Return the times of the way down."""
        return grid(prior.diffusion.schedule, self.grid, self.steps, self.stop)

    def _check(self, prior: Prior) -> None:
        if not isinstance(prior.diffusion, GaussianDiffusion):
            raise TypeError(
                f"{type(self).__name__} needs a GaussianDiffusion, "
                f"got {type(prior.diffusion).__name__}"
            )


def _whole(x: Tensor) -> Tensor:
    return x


def _short(x: Tensor) -> Tensor:
    return x.half().to(x)


def flow_coefficients(prior: Prior, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return (a, b) of the flow's first-order step x_s = a x_t + b eps(x_t, t)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (prior.diffusion.schedule(u) for u in (t, s))
    a = alpha_s / alpha_t
    return a, sigma_s - a * sigma_t


def predict_eps(prior: Prior, x_t: Tensor, t: Tensor) -> Tensor:
    """Return eps(x_t, t) = (x_t - alpha_t E[x_0 | x_t]) / sigma_t."""
    alpha_t, sigma_t = prior.diffusion.schedule(t)
    return (x_t - alpha_t * prior(x_t, t)) / sigma_t


def inverse_step(prior: Prior, x_s: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Return x_t = (x_s - b eps) / a, with eps looked up at (x_s, s); at t where s has no noise."""
    a, b = flow_coefficients(prior, t, s)
    noisy = float(prior.diffusion.schedule(s)[1]) > 0
    return (x_s - b * predict_eps(prior, x_s, s if noisy else t)) / a
