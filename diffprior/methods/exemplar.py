"""Exemplar-based inpainting (Criminisi et al., 2004): holes are filled with copies."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..batching import Callback, part_callback
from ..exemplar.completion import complete
from ..exemplar.references import Reference, locate, show
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.mask import Mask
from ..random import Noise
from .base import Method, Needs, Posterior

__all__ = ["Exemplar", "plane"]

P = Posterior[GaussianLikelihood[Mask]]


@dataclass(frozen=True, kw_only=True)
class Exemplar(Method[GaussianLikelihood[Mask]]):
    """Copies of known pixels, joined by their gradients; the prior is the image itself.

    Each lost pixel is a copy of a known one. Either the offsets between the two are few, those at
    which the surroundings of the hole repeat, laid out such that the seams between copies cost
    least: "Statistics of Patch Offsets for Image Completion" (He and Sun, 2012),
    https://doi.org/10.1007/978-3-642-33709-3_2; or each is the match of the patches around it,
    "PatchMatch" (Barnes et al., 2009), https://doi.org/10.1145/1531326.1531330, where a copy may
    be mirrored, left to right. Of several tries the one is kept whose patches are most like those
    of the surroundings. The prior of the call is not asked, and the spread of several results is
    one of layouts, not a posterior's. Where another image of the scene shows what a hole hides, it
    is laid over the hole. Heuristic.

    For images of pixels; on any device the work is done by the CPU.

    Arguments:
        tries: How many fills are made of which the best is kept. A single one is drawn at random,
            so that several results differ in structure.
        references: Further images of the scene, each ``(C, H, W)`` in [-1, 1]. One with a known
            place, a ``Reference`` with values in [0, 1], is not laid over a hole: only its patches
            are copied.
    """

    tries: int = 4
    references: Sequence[Tensor | Reference] = field(default=(), repr=False)

    needs: ClassVar[Needs] = Needs(likelihood=GaussianLikelihood, operator=Mask)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "references", tuple(self.references))  # so that it has a hash

    def with_steps(self, steps: int) -> Self:
        return self  # there is no chain

    def initial(
        self, p: Posterior[Any], guess: Tensor | None, images: Tensor, noise: Noise
    ) -> Tensor:
        y: Tensor = p.likelihood.y
        return y[images]

    def run(self, p: P, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        y = plane(p.likelihood.y)
        keep = plane(p.likelihood.operator.s.expand_as(p.likelihood.y)) != 0
        draws = noise.uniform(y.new_zeros(len(y), 1))
        rows = []
        for i, draw in enumerate(draws[:, 0].tolist()):
            hole = ~keep[i].all(0).cpu()
            image = (y[i].float().cpu() + 1) / 2
            placed = _placed(image, hole, self.references)
            tried = [r for r, new in placed if new]
            shown = show(image, hole, ~hole, tried)
            filled = complete(
                shown.image,
                hole & ~shown.filled,
                tries=self.tries,
                seed=int(draw * 2**24),
                references=[r for r, _ in placed],
                callback=partial(part_callback(callback, i, len(y)), p.likelihood.y),
            )
            rows.append(torch.where(keep[i], y[i], (2 * filled - 1).to(y)))
        return torch.stack(rows).reshape(p.likelihood.y.shape)


def plane(x: Tensor) -> Tensor:
    """Return states as images ``(B, C, H, W)``; one axis is a line of pixels."""
    return x if x.ndim == 4 else x.reshape(len(x), 1, 1, -1)


def _placed(
    image: Tensor, hole: Tensor, references: Sequence[Tensor | Reference]
) -> list[tuple[Reference, bool]]:
    """Return references with their places, and whether these are found here."""
    placed = []
    for each in references:
        if isinstance(each, Reference):
            placed.append((replace(each, image=_alike(each.image, len(image))), False))
        else:
            other = _alike((each.float().cpu() + 1) / 2, len(image))
            placed.append((locate(image, hole, other), True))
    return placed


def _alike(x: Tensor, channels: int) -> Tensor:
    """Return an image with one channel for gray images, else with as many as there are."""
    return x.mean(0, keepdim=True) if channels == 1 else x.expand(channels, -1, -1)
