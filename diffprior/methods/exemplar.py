"""Exemplar-based inpainting (Criminisi et al., 2004): holes are filled with copies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..batching import Callback, part_callback
from ..exemplar.completion import complete
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.mask import Mask
from ..random import Noise
from .base import Method, Needs, Posterior

__all__ = ["Exemplar"]

P = Posterior[GaussianLikelihood[Mask]]


@dataclass(frozen=True, kw_only=True)
class Exemplar(Method[GaussianLikelihood[Mask]]):
    """Copies of known pixels, joined by their gradients; the prior is the image itself.

    Each lost pixel is a copy of a known one. The offsets between the two are few, those at which
    the surroundings of the hole repeat, and are laid out such that the seams between copies cost
    least; "Statistics of Patch Offsets for Image Completion" (He and Sun, 2012). Of several tries
    the one is kept whose seams and patches fit the surroundings best. The prior of the call is not
    asked, and the spread of several results is one of layouts, not a posterior's. Heuristic.

    For images of pixels; on any device the work is done by the CPU.

    Arguments:
        tries: How many fills are made of which the best is kept. A single one is drawn at random,
            so that several results differ in structure.
        references: Further images that may be copied from, each ``(C, H, W)`` in [-1, 1].
    """

    tries: int = 4
    references: Sequence[Tensor] = field(default=(), repr=False, compare=False)

    needs: ClassVar[Needs] = Needs(likelihood=GaussianLikelihood, operator=Mask)

    def with_steps(self, steps: int) -> Self:
        return self  # there is no chain

    def initial(
        self, p: Posterior[Any], guess: Tensor | None, images: Tensor, noise: Noise
    ) -> Tensor:
        y: Tensor = p.likelihood.y
        return y[images]

    def run(self, p: P, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        y = p.likelihood.y
        keep = p.likelihood.operator.s.expand_as(y) != 0
        draws = noise.uniform(y.new_zeros(len(y), 1))
        rows = []
        for i, draw in enumerate(draws[:, 0].tolist()):
            hole = ~keep[i].all(0)
            report = partial(part_callback(callback, i, len(y)), y)
            filled = complete(
                (y[i].float().cpu() + 1) / 2,
                hole.cpu(),
                tries=self.tries,
                seed=int(draw * 2**24),
                references=[_alike(x, len(y[i])) for x in self.references],
                callback=report,
            )
            rows.append(torch.where(hole, (2 * filled - 1).to(y), y[i]))
        return torch.stack(rows)


def _alike(reference: Tensor, channels: int) -> Tensor:
    """Return a reference with values in [0, 1], with one channel for gray images."""
    x = (reference.float().cpu() + 1) / 2
    return x.mean(0, keepdim=True) if channels == 1 else x.expand(channels, -1, -1)
