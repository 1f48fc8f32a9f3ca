"""Adaptive steps on the reverse SDE (Jolicoeur-Martineau et al., 2021): each row its own."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..validation import Positive
from ._halving import Halving, Trial, scaled_error

__all__ = ["AdaptiveSDE"]


@dataclass(frozen=True, kw_only=True)
class AdaptiveSDE(Halving):
    """z' = z + 2 h (x_0 - z) + w, then z'' = (z + z' + 2 h (x_0' - z') + w) / 2 with the same w.

    z = x / alpha, h is the step in log-SNR and w its noise. z'' is the answer, and its distance
    from z' the error. Where that is above ``atol`` + ``rtol`` |z| the row halves its step, and
    its noise along a Brownian bridge, so that what is rejected does not bend the law. ``steps`` are
    the longest steps. Two calls for each try. "Gotta Go Fast When Generating Data with Score-Based
    Models", https://arxiv.org/abs/2105.14080.

    Arguments:
        rtol, atol: Relative and absolute tolerance; the paper's are 0.01 to 0.1 and, in [-1, 1],
            half a step of 8 bits.
    """

    steps: int = 20
    rtol: Positive = 0.05
    atol: Positive = 0.0078

    @property
    def draws(self) -> bool:
        return True

    def increment(self, z: Tensor, r_t: Tensor, r_s: Tensor, noise: Noise | None) -> Tensor:
        return (r_t**2 - r_s**2).clamp_min(0).sqrt() * self.stream(noise).normal(z)

    def bridge(
        self, drawn: Tensor, ratios: Tensor, rows: Tensor, noise: Noise | None
    ) -> tuple[Tensor, Tensor]:
        first, second = (ratios[:-1] ** 2 - ratios[1:] ** 2).clamp_min(0)
        share = first / (first + second)
        index = rows.nonzero().flatten()
        half = share * drawn
        deviation = (share * second).sqrt()
        fresh = self.stream(noise).rows(index.tolist()).normal(drawn[index])
        half[index] = half[index] + deviation * fresh
        return half, drawn - half

    def attempt(
        self, prior: Prior, z: Tensor, ends: tuple[Tensor, Tensor], carry: Any, drawn: Tensor
    ) -> Trial:
        schedule = prior.diffusion.schedule
        t, s = ends
        r_t, r_s = schedule.ratio(torch.stack(ends))
        h = (r_t / r_s).log()
        first = prior(schedule(t)[0] * z, t) - z
        plain = z + 2 * h * first + drawn
        second = prior(schedule(s)[0] * plain, s) - plain
        better = z + h * (first + second) + drawn
        size = torch.maximum(z.abs(), plain.abs())
        return Trial(better, scaled_error(better - plain, size, self.atol, self.rtol))
