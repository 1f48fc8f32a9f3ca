"""The interface of inversions: from an image to a code of it, and back."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from ..batching import StepCallback
from ..diffusions import GaussianDiffusion
from ..errors import PriorError
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid, pairs
from ..validation import Checked, Within

__all__ = [
    "Code",
    "Inversion",
    "Keep",
    "flow_coefficients",
    "flow_step",
    "inverse_step",
    "predict_eps",
    "unchanged",
    "walk",
]

Code = dict[str, Tensor]  # tensors with the rows of the images, by name
Keep = Callable[[Tensor], Tensor]  # rounds what a step adds to the code
Step = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # takes x_t, t, s and step number


def unchanged(x: Tensor, i: int) -> Tensor:
    """Return the states of a step as they are."""
    return x


def walk(x: Tensor, times: Tensor, step: Step, each: StepCallback = unchanged) -> Tensor:
    """Return the states at the last time of a chain from ``x`` at the first one."""
    states = [x]
    del x
    for i, (t, s) in enumerate(pairs(times)):
        states.append(each(step(states.pop(), t, s, i), i))
    return states.pop()


@dataclass(frozen=True, kw_only=True)
class Inversion(Checked, ABC):
    """Encodes an image as a noisy state, and what else it takes to decode the image from it.

    ``encode`` goes up a grid of times, from the image at 0 to ``stop``; ``decode`` goes down
    again. With the same prior it returns the image; with a prior of another prompt, an edit of
    it. A subclass overrides ``up`` and ``down``.

    Shapes: states are ``(B, *prior.shape)``; each tensor of a code has B rows.

    Arguments:
        steps: Steps of the chain.
        grid: How its times are spaced: ``time``, ``logsnr``, ``karras``, ``vp`` or ``quad``.
        stop: The time up to which the image is noised; 1 is pure noise.

    Example:
        >>> import torch
        >>> from diffprior.inversions.direct import DirectInversion
        >>> from diffprior.priors.mixture import MixturePrior
        >>> prior = MixturePrior(torch.ones(1), torch.tensor([[0.0, 1.0]]), torch.ones(1))
        >>> inversion = DirectInversion(steps=10)
        >>> code = inversion.encode(prior, torch.tensor([[0.5, 2.0]]))
        >>> inversion.decode(prior, code)
        tensor([[0.5000, 2.0000]])
    """

    steps: int = 50
    grid: Grid = "logsnr"
    stop: Annotated[float, Within(0, 1, above=True)] = 1.0

    walks_flow: ClassVar[bool] = True  # False where each kernel is drawn from
    guided: ClassVar[bool] = False  # True where the code depends on the guidance scale of the edit

    @property
    def calls(self) -> int:
        """How often ``encode`` calls the prior, for a progress bar."""
        return self.steps

    @torch.no_grad()
    def encode(
        self, prior: Prior, x_0: Tensor, noise: Noise | None = None, *, half: bool = False
    ) -> Code:
        """Return the code of states.

        Arguments:
            x_0: Clean states, of shape ``(B, *prior.shape)``.
            noise: One stream a row; only stochastic inversions need it.
            half: Whether to round what each step adds to the code to half precision. The next step
                corrects that rounding. States keep theirs, as errors grow on the way down.
        """
        self._check(prior)
        return self.up(prior, x_0, self.times(prior).flip(0), noise, _short if half else _whole)

    @torch.no_grad()
    def decode(self, prior: Prior, code: Code, each: StepCallback = unchanged) -> Tensor:
        """Return the clean states of a code; those that were encoded, if the prior is the same.

        Arguments:
            each: Called after each step with the states and the number of the step, from 0 on; the
                chain continues with the states that it returns.
        """
        self._check(prior)
        return self.down(prior, code, self.times(prior), each)

    def edit_prior(self, target: Prior, source: Prior) -> Prior:
        """Return the prior that decodes an edit: ``target``, or one made of both."""
        return target

    @abstractmethod
    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        """Return the code; ``times`` ascend, and ``keep`` rounds what a step adds to it."""

    @abstractmethod
    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        """Return the clean states; ``times`` descend."""

    def times(self, prior: Prior) -> Tensor:
        """Return the times of the way down, float64 of shape ``(steps + 1,)``."""
        return grid(prior.diffusion.schedule, self.grid, self.steps, self.stop)

    def _check(self, prior: Prior) -> None:
        if self.walks_flow and prior.consistency:
            raise PriorError(
                f"{type(self).__name__} walks the flow of a prior, and {prior.name}, a consistency "
                "model, only knows where the flow ends; use edit_friendly or another prior"
            )
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


def flow_step(prior: Prior, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Return the flow's first-order step x_s = a x_t + b eps(x_t, t)."""
    a, b = flow_coefficients(prior, t, s)
    return a * x_t + b * predict_eps(prior, x_t, t)


def inverse_step(prior: Prior, x_s: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Return x_t = (x_s - b eps) / a, with eps taken at (x_s, s); at t where s has no noise."""
    a, b = flow_coefficients(prior, t, s)
    noisy = float(prior.diffusion.schedule(s)[1]) > 0
    return (x_s - b * predict_eps(prior, x_s, s if noisy else t)) / a
