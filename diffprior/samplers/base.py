"""The interface of samplers: the loop over a grid of times."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..batching import Callback, chain
from ..diffusions import BernoulliDiffusion
from ..errors import UnsuitedError
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid
from ..validation import Checked, renamed

__all__ = ["CONSISTENCY_STEPS", "Sampler"]

CONSISTENCY_STEPS = 4  # of a chain of a consistency model, as in the papers


@dataclass(frozen=True, kw_only=True)
class Sampler(Checked, ABC):
    """Draws clean states from a prior, step by step from x_t to x_s along a grid of times.

    A sampler knows nothing of a measurement: a method that conditions a prior uses any sampler.
    A subclass overrides ``step``.

    Shapes: states are ``(B, *prior.shape)``; times are tensors without axes.

    Arguments:
        steps: Steps of the chain.
        grid: How its times are spaced: ``time``, ``logsnr``, ``karras``, ``vp`` or ``quad``.

    Example:
        >>> import torch
        >>> from diffprior.priors.mixture import MixturePrior
        >>> from diffprior.random import Noise
        >>> from diffprior.samplers.ddim import DDIM
        >>> prior = MixturePrior(torch.ones(1), torch.tensor([[0.0, 1.0]]), torch.ones(1))
        >>> noise = Noise(seed=0, samples=3)
        >>> x_T = prior.diffusion.terminal((3, 2)).sample(noise)
        >>> DDIM(steps=10)(prior, x_T, noise).shape
        torch.Size([3, 2])
    """

    bits: ClassVar[bool] = False  # whether it also draws bits

    steps: int = 100
    grid: Grid = "time"

    @abstractmethod
    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: Any, noise: Noise | None
    ) -> tuple[Tensor, Any]:
        """Return the states at time s, and a value for the next step.

        Arguments:
            prior: The prior.
            x_t: States at time t, of shape ``(B, *prior.shape)``.
            t, s: Times without axes, s the next one of the chain.
            carry: None at the first step, then the value that the last step returned.
            noise: One stream a row; None for a sampler that does not draw.
        """

    @property
    def draws(self) -> bool:
        """Return whether it draws noise. One that does not also runs up in time, to noise."""
        return False

    def stream(self, noise: Noise | None) -> Noise:
        """Return the streams of noise that a sampler draws from.

        Raises:
            TypeError: If there are none.
        """
        if noise is None:
            raise TypeError(f"{type(self).__name__} draws noise: give it a stream")
        return noise

    def with_steps(self, steps: int) -> Self:
        """Return the same sampler with ``steps`` steps."""
        return replace(self, steps=steps)

    @renamed(watch="callback")
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
        """Return the states at time ``stop`` of a chain from ``x`` at time ``start``.

        Arguments:
            x: States, of shape ``(B, *prior.shape)``.
            noise: One stream a row; a sampler that does not draw needs none.
            start, stop: Times in [0, 1].
            callback: Called after each step with the states and the share of the chain done.

        Raises:
            UnsuitedError: If the prior is one of bits, and the sampler is for Gaussian noise.
        """
        times = grid(prior.diffusion.schedule, self.grid, self.steps, start, stop)
        return self.walk(prior, [x], noise, times, callback)

    def walk(
        self,
        prior: Prior,
        states: list[Tensor],
        noise: Noise | None,
        times: Tensor,
        callback: Callback | None,
    ) -> Tensor:
        """Return the states at the end of a chain.

        Arguments:
            states: The states that it begins with, which are taken out of the list: large ones are
                held by nobody then.
            times: The times of the chain, ``(steps + 1,)``.

        Raises:
            UnsuitedError: If the prior is one of bits, and the sampler is for Gaussian noise.
        """
        if isinstance(prior.diffusion, BernoulliDiffusion) and not self.bits:
            raise UnsuitedError(
                f"{type(self).__name__} is for Gaussian noise, and {prior.name} has bits for "
                "states: use ancestral"
            )
        carry = None
        for t, s, report in chain(times, callback):
            x, carry = self.step(prior, states.pop(), t, s, carry, noise)
            report(x)
            states.append(x)
            del x
        return states.pop()
