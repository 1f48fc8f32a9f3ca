"""Gaussian noise, or none."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from torch import Tensor

from ..bands import bands, is_large
from ..operators.base import LinearOperator, SVDOperator
from ..random import Noise
from ..solvers import cg
from .base import ConditionableLikelihood, O

__all__ = ["GaussianLikelihood"]


@dataclass(frozen=True, kw_only=True)
class GaussianLikelihood(ConditionableLikelihood[O]):
    """y = A x + sigma eps, with eps ~ N(0, I).

    Arguments:
        sigma: Standard deviation of the noise, in the units of y (images: of [-1, 1], twice
            those of [0, 1]); 0 for exact data, which have no density but can be conditioned on.
    """

    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not self.sigma >= 0:
            raise ValueError(f"sigma is a standard deviation from 0 on, got {self.sigma}")

    def residual(self, x: Tensor) -> Tensor:
        """Return y - A x, with zeros where nothing was measured."""
        return self.operator.mask_unmeasured(self.y - self.operator(x))

    def log_prob(self, x: Tensor) -> Tensor:
        if self.sigma == 0:
            raise ValueError("exact data (sigma = 0) has no density: give sigma > 0")
        return -self.residual(x).flatten(1).square().sum(1) / (2 * self.sigma**2)

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        clean = self.operator(x)
        return self.operator.mask_unmeasured(clean + self.sigma * noise.normal(clean))

    def evidence(self, x_0: Tensor, var: Tensor | float) -> Tensor:
        """Return log p(y) under x ~ N(x_0, var I), up to a constant, for an A with an SVD."""
        A = cast(SVDOperator, self.operator)
        z = A.to_left(self.residual(x_0))
        total = var * A.s**2 + self.sigma**2
        return -torch.where(A.s > 0, z**2 / total, 0).flatten(1).sum(1) / 2

    def chi2(self, x: Tensor) -> Tensor:
        """Return ||y - A x||^2 / (m sigma^2) of each state, with m the count of measured numbers.

        It is about 1 for a state that explains y, and 0 where nothing was measured. A sigma below
        the rounding error of numbers about 1 counts as that.
        """
        sigma = max(self.sigma, torch.finfo(x.dtype).eps)
        squares = [part.residual(x[at]).flatten(1).square().sum(1) for part, at in self._parts(x)]
        counts = [part.unclamped_count() for part, _ in self._parts(x)]
        total, count = (torch.stack(sums).sum(0) for sums in (squares, counts))
        return total / (count.clamp_min(1) * sigma**2)

    def apply_gain(self, r: Tensor, var: Tensor | float) -> Tensor:
        """Return A^T (var A A^T + sigma^2)^+ r, for a linear A."""
        A = cast(LinearOperator, self.operator)
        if isinstance(A, SVDOperator):
            total = var * A.s**2 + self.sigma**2
            gain = torch.where(A.s > 1e-6 * A.s.max(), A.s / total, 0)
            return A.from_spectrum(gain * A.to_left(r))
        return cg(lambda v: var * A.adjoint(A(v)) + self.sigma**2 * v, A.adjoint(r))

    def condition(self, x_0: Tensor, var: Tensor | float) -> Tensor:
        """Return E[x | y] under x ~ N(x_0, var I), for a linear A.

        It is x_0 + var A^T (var A A^T + sigma^2)^+ (y - A x_0)
        """
        if not is_large(x_0):
            return self._condition(x_0, var)
        x = torch.empty_like(x_0)
        for part, at in self._parts(x_0):
            x[at] = part._condition(x_0[at], var)
        return x

    def _condition(self, x_0: Tensor, var: Tensor | float) -> Tensor:
        return x_0 + var * self.apply_gain(self.residual(x_0), var)

    def _parts(self, x: Tensor) -> Iterator[tuple[Self, Any]]:
        """Yield the likelihood of parts of states that are measured by themselves, and where.

        Small states are one part, and so are all that an operator has no parts of.
        """
        A = self.operator
        if is_large(x) and A.grain:
            for rows in bands(x, A.grain):
                measured = slice(rows.start // A.grain, rows.stop // A.grain)
                y = self.y[..., measured, :]
                yield replace(self, operator=A.band(rows), y=y), (..., rows, slice(None))
        elif is_large(x) and A.by_channel:
            for c in range(x.shape[1]):
                at = slice(None), slice(c, c + 1)
                yield replace(self, y=self.y[at]), at
        else:
            yield self, slice(None)
