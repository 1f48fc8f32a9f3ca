"""Bits that a channel flips at random."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..random import Noise
from .base import Likelihood, O

__all__ = ["FlipLikelihood"]


@dataclass(frozen=True, kw_only=True)
class FlipLikelihood(Likelihood[O]):
    """Bits behind a mask, each flipped with probability ``rate``.

    y is 0 or 1 where a bit was measured and 0.5 elsewhere. log p is extended linearly from bits to
    [0, 1], so that its score is the change of the log-odds.

    Arguments:
        rate: Probability that a bit is flipped, in (0, 1).
    """

    rate: float = 0.1

    def log_prob(self, x: Tensor) -> Tensor:
        gain = torch.tensor((1 - self.rate) / self.rate).log()
        agree = (2 * self.y - 1) * self.operator(2 * x - 1)
        return gain / 2 * agree.flatten(1).sum(1)

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        sent = self.operator(2 * x - 1)
        return (1 + torch.where(noise.uniform(sent) < self.rate, -sent, sent)) / 2
