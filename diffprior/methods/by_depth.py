"""One method for the narrow holes of an image, another for the wide ones."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..batching import Callback, part_callback
from ..classical.islands import wide_part
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.mask import Mask
from ..priors.base import Prior
from ..random import Noise
from ..validation import Positive
from ._parts import each_start, starts_of
from .base import Method, Needs, Posterior
from .dpir import DPIR
from .exemplar import Exemplar, plane

__all__ = ["ByDepth"]

P = Posterior[GaussianLikelihood[Mask]]


@dataclass(frozen=True, kw_only=True)
class ByDepth(Method[GaussianLikelihood[Mask]]):
    """The narrow holes are filled first, and what fills them is known to the wide ones.

    A hole is a connected set of lost pixels, and its depth the largest distance of one of them from
    a known pixel. What is round a scratch says all about it, so a method that is near to the
    posterior mean is right there; in a wide hole such a mean is a blur: "The Perception-Distortion
    Tradeoff" (Blau and Michaeli, 2018), https://arxiv.org/abs/1711.06077. Heuristic.

    Arguments:
        start: Of the method of narrow holes, in place of its own.
        narrow: Method of the narrow holes.
        wide: Method of the others.
        depth: Largest depth of a narrow hole, in pixels.
        compact: The same for a hole that is no stroke; see `wide_part`.
    """

    narrow: Method[Any] = field(default_factory=lambda: DPIR(start=0.15, steps=30, spread=32))
    wide: Method[Any] = field(default_factory=Exemplar)
    depth: Positive = 20.0
    compact: Positive = 10.0

    needs: ClassVar[Needs] = Needs(likelihood=GaussianLikelihood, operator=Mask)

    @property
    def first(self) -> Method[Any]:
        """The method of narrow holes, with the start of this one if there is one."""
        return self.narrow if self.start is None else replace(self.narrow, start=self.start)

    @property
    def parts(self) -> tuple[Method[Any], Method[Any]]:
        """The methods of narrow and of wide holes."""
        return self.first, self.wide

    @property
    def starts(self) -> int:
        return sum(part.starts for part in self.parts)

    @property
    def stochastic(self) -> bool:
        return self.narrow.stochastic or self.wide.stochastic

    @property
    def takes_guess(self) -> bool:
        return self.first.takes_guess or self.wide.takes_guess

    def start_time(self, prior: Prior) -> float:
        return self.first.start_time(prior)

    def with_steps(self, steps: int) -> Self:
        return replace(self, narrow=self.narrow.with_steps(steps), wide=self.wide.with_steps(steps))

    def at_levels(self, factor: float) -> Self:
        narrow, wide = (part.at_levels(factor) for part in (self.narrow, self.wide))
        return replace(super().at_levels(factor), narrow=narrow, wide=wide)

    def initial(
        self, p: Posterior[Any], guess: Tensor | None, images: Tensor, noise: Noise
    ) -> Tensor:
        return starts_of(self.parts, p, guess, images, noise)

    def run(self, p: P, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        y = p.likelihood.y
        keep = p.likelihood.operator.s.expand_as(y) != 0
        holes = ~plane(keep).all(1)
        parts = torch.stack([wide_part(hole, self.depth, self.compact) for hole in holes])
        wide = parts[:, None].expand_as(plane(keep)).reshape(y.shape).to(y.device)
        narrow = ~keep & ~wide
        begin, then = each_start(self.parts, x_T)
        if not wide.any():
            return self.first.run(p, begin, noise, callback)
        if not narrow.any():
            return self.wide.run(p, then, noise, callback)
        x = self.first.run(p, begin, noise, part_callback(callback, 0, 2))
        known = torch.where(narrow, x, y)
        mask = Mask((keep | narrow).to(y), batched=True).to(y)
        rest = replace(p, likelihood=replace(p.likelihood, operator=mask, y=known * mask.s))
        filled = self.wide.run(rest, then, noise, part_callback(callback, 1, 2))
        return torch.where(wide, filled, known)
