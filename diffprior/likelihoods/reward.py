"""Any positive function r(x) in the place of a likelihood: p(x) r(x), up to a constant."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..operators.base import Operator
from ..random import Noise
from .base import Likelihood

__all__ = ["RewardLikelihood"]


class _Nothing(Operator):
    """The measurement that is none: states to ``(B, 0)``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 0)


@dataclass(frozen=True, kw_only=True)
class RewardLikelihood(Likelihood[Operator]):
    """r(x) = exp(log_r(x)), so that methods draw from p(x) r(x): nothing is measured.

    r says what images are wanted: the score of a classifier, a color, a region that is dark. The
    bounded positive r of "Deep Unsupervised Learning using Nonequilibrium Thermodynamics", eq. 16,
    https://arxiv.org/abs/1503.03585. ``TwistedSMC(proposal=Tilt())`` meets p(x) r(x) as its
    particles and steps grow; ``Tilt`` and ``DPS`` alone are heuristics. For a latent prior,
    ``log_r`` takes the decoded images.

    Arguments:
        log_r: Map from states ``(B, *shape)`` to log r of each, ``(B,)``, with a gradient.

    Example:
        >>> import torch
        >>> from diffprior.methods.smc import TwistedSMC
        >>> from diffprior.methods.tilt import Tilt
        >>> from diffprior.priors.mixture import MixturePrior
        >>> prior = MixturePrior(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
        >>> likelihood = RewardLikelihood(log_r=lambda x: x[:, 0])  # larger first entries
        >>> TwistedSMC(proposal=Tilt(), steps=20)(prior, likelihood, n=8, seed=0).shape
        torch.Size([8, 2])
    """

    operator: Operator = field(default_factory=_Nothing)
    log_r: Callable[[Tensor], Tensor]

    def log_prob(self, x: Tensor) -> Tensor:
        return self.log_r(x)

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        """Return what is measured: nothing, ``(B, 0)``."""
        return self.operator(x)

    def through(self, decode: Callable[[Tensor], Tensor]) -> "RewardLikelihood":  # type: ignore[override]
        """Return r(decode(z)), a function of z."""
        log_r = self.log_r
        return replace(self, log_r=lambda z: log_r(decode(z)))
