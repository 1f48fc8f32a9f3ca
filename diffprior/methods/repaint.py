"""RePaint (Lugmayr et al., 2022): known pixels from the data, and travels in time."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..batching import Callback
from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.mask import Mask
from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid, grid
from .base import Method

__all__ = ["RePaint", "travel"]


@dataclass(frozen=True, kw_only=True)
class RePaint(Method[GaussianLikelihood[Mask]]):
    """x_s = m q(x_s | y) + (1 - m) p(x_s | x_t), with travels back up by ``jump`` steps.

    For exact data seen through a mask. Heuristic. "RePaint: Inpainting using Denoising Diffusion
    Probabilistic Models", algorithm 1 and app. B, https://arxiv.org/abs/2201.09865.

    Arguments:
        steps: Length of the time grid.
        jump: Steps of one travel upwards.
        repeats: How often each stretch is walked down; 1 is plain replacement sampling.
        grid: How the times are spaced.
    """

    steps: int = 250
    jump: int = 10
    repeats: int = 10
    grid: Grid = "time"

    @property
    def needs(self) -> tuple[type, type, type]:
        return GaussianDiffusion, GaussianLikelihood, Mask

    def run(
        self,
        prior: Prior,
        likelihood: GaussianLikelihood[Mask],
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        diffusion, keep, x = prior.diffusion, likelihood.operator.s, x_T
        times = grid(diffusion.schedule, self.grid, self.steps, self.start_time(prior)).flip(0)
        levels = list(travel(self.steps, self.jump, self.repeats))
        for i, (a, b) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
            if b > a:
                x = diffusion.jump(x, times[a], times[b]).sample(noise)
                continue
            x = prior.kernel(x, times[a], times[b]).sample(noise)
            known = diffusion.noise(likelihood.y, times[b]).sample(noise)
            x = keep * known + (1 - keep) * x
            if callback is not None:
                callback(x, (i + 2) / len(levels))
        return keep * likelihood.y + (1 - keep) * x


def travel(steps: int, jump: int, repeats: int) -> Iterator[int]:
    """Yield the levels of the walk, from ``steps`` to 0; level 0 is clean.

    At every ``jump``-th level, once it is reached, the walk goes up by ``jump`` and down again, as
    often as it takes for the stretch to have been walked down ``repeats`` times.
    """
    left = dict.fromkeys(range(1, steps - jump + 1, jump), repeats - 1)
    level = steps
    yield level
    while level > 0:
        level -= 1
        yield level
        if left.get(level, 0) > 0:
            left[level] -= 1
            for _ in range(jump):
                level += 1
                yield level
