"""The loop, once."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from ..batching import Callback
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid
from ..validation import Checked

__all__ = ["Sampler"]


@dataclass(frozen=True, kw_only=True)
class Sampler(Checked, ABC):
    """A way from x_t to x_s, step by step.

    Arguments:
        steps: Steps of the chain.
        grid: How its times are spaced: ``time``, ``logsnr``, ``karras``, ``vp`` or ``quad``.
    """

    steps: int = 100
    grid: Grid = "time"

    @abstractmethod
    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: Any, noise: Noise | None
    ) -> tuple[Tensor, Any]:
        """Move from t to s; ``carry`` is None at first, then whatever the last step returned."""

    def with_steps(self, steps: int) -> Self:
        """Return the same sampler with this many steps."""
        return replace(self, steps=steps)

    @torch.no_grad()
    def __call__(
        self,
        prior: Prior,
        x: Tensor,
        noise: Noise | None = None,
        *,
        start: Tensor | float = 1.0,
        stop: Tensor | float = 0.0,
        callback: Callback | None = None,
    ) -> Tensor:
        """Return the states at time ``stop`` of a chain that begins with ``x`` at time ``start``.

        Arguments:
            x: States, of shape ``(B, *prior.shape)``.
            noise: One stream a row; samplers that draw nothing do without.
            callback: Called after each step with the states and the share of the chain done.
        """
        times, carry = grid(prior.diffusion.schedule, self.grid, self.steps, start, stop), None
        for i, (t, s) in enumerate(times.unfold(0, 2, 1)):
            x, carry = self.step(prior, x, t, s, carry, noise)
            if callback is not None:
                callback(x, (i + 1) / self.steps)
        return x
