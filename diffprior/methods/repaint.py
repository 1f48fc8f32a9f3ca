"""RePaint (Lugmayr et al., 2022): measured pixels from the data, and travels in time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from ..bands import in_bands
from ..batching import Callback, progress
from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.mask import Mask
from ..random import Noise
from ..schedules import Grid
from .base import ChainMethod, Needs, Posterior

__all__ = ["RePaint", "travel"]

P = Posterior[GaussianLikelihood[Mask]]


@dataclass(frozen=True, kw_only=True)
class RePaint(ChainMethod[GaussianLikelihood[Mask]]):
    """x_s = m q(x_s | y) + (1 - m) p(x_s | x_t), with travels back up by ``jump`` steps.

    For exact data seen through a mask. Heuristic. "RePaint: Inpainting using Denoising Diffusion
    Probabilistic Models", algorithm 1 and app. B, https://arxiv.org/abs/2201.09865.

    Arguments:
        steps: Length of the time grid.
        jump: Steps of one travel upwards.
        repeats: How often the chain goes down each stretch; 1 is plain replacement sampling.
    """

    steps: int = 250
    grid: Grid = "time"
    jump: int = 10
    repeats: int = 10

    needs: ClassVar[Needs] = Needs(GaussianDiffusion, GaussianLikelihood, Mask)

    def run(self, p: P, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        x = x_T
        del x_T
        y = p.likelihood.y
        keep = p.likelihood.operator.s
        times = self.times(p.prior).flip(0)
        moves = list(pairwise(travel(self.steps, self.jump, self.repeats)))
        for (a, b), report in progress(moves, callback):
            if b > a:
                x = p.diffusion.jump(x, times[a], times[b]).sample(noise)
                continue
            x = p.prior.kernel(x, times[a], times[b]).sample(noise)
            data = p.diffusion.noise(y, times[b]).sample(noise)
            x = in_bands(_spliced, x, data, keep, into=data)
            del data
            report(x)
        return in_bands(_spliced, x, y, keep)


def _spliced(x: Tensor, data: Tensor, keep: Tensor) -> Tensor:
    return keep * data + (1 - keep) * x


def travel(steps: int, jump: int, repeats: int) -> Iterator[int]:
    """Yield the levels of the chain, from ``steps`` to 0; level 0 is clean.

    At every ``jump``-th level the chain goes up by ``jump`` and down again, until it has gone down
    that stretch ``repeats`` times.
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
