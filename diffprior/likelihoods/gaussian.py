"""Gaussian noise, or none."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ..bands import in_bands, is_large
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
        return self.operator.mask_unmeasured(in_bands(torch.sub, self.y, self.operator(x)))

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
        squares = [part.residual(x[at]).flatten(1).square().sum(1) for part, at in self.parts(x)]
        counts = [part.unclamped_count() for part, _ in self.parts(x)]
        total, count = (torch.stack(sums).sum(0) for sums in (squares, counts))
        return total / (count.clamp_min(1) * sigma**2)

    def apply_gain(self, r: Tensor, var: Tensor | float) -> Tensor:
        """Return A^T (var A A^T + sigma^2)^+ r, for a linear A."""
        A = cast(LinearOperator, self.operator)
        if isinstance(A, SVDOperator):

            def gain(s: Tensor) -> Tensor:
                return torch.where(s > 1e-6 * s.max(), s / (var * s**2 + self.sigma**2), 0)

            return A.filtered(gain, r)
        back = A.adjoint(r)
        if is_large(back) and self.sigma > 0 and r.numel() < back.numel():
            del back  # of large images the smaller of the two systems is solved, that of y
            return A.adjoint(cg(lambda v: self._widened(A(A.adjoint(v)), v, var), r))
        return cg(lambda v: self._widened(A.adjoint(A(v)), v, var), back)

    def _widened(self, v: Tensor, own: Tensor, var: Tensor | float) -> Tensor:
        """Return var v + sigma^2 own."""
        return in_bands(lambda v, own: var * v + self.sigma**2 * own, v, own)

    def condition_at_once(self, x_0: Tensor, var: Tensor | float) -> Tensor:
        """Return x_0 + var A^T (var A A^T + sigma^2)^+ (y - A x_0), for a linear A."""
        return x_0 + var * self.apply_gain(self.residual(x_0), var)
