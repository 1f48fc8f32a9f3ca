"""Steps that each row of a batch halves on its own, until its error is small enough."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from ..schedules import Grid
from ..solvers import wide_dtype
from ..validation import Positive
from .base import Sampler

__all__ = ["Halving", "Trial", "scaled_error"]

DEEPEST = 12  # halvings of a step; beyond, it is taken whatever its error


@dataclass(frozen=True)
class Trial:
    """A step that was tried.

    Attributes:
        z: The states at its end.
        error: Of each row, in units of the tolerance, of shape ``(B,)``.
        carry: What the next step may start with.
    """

    z: Tensor
    error: Tensor
    carry: Any = None


@dataclass(frozen=True, kw_only=True)
class Halving(Sampler):
    """A step of the grid is halved in log-SNR for the rows whose error is above the tolerance.

    Rows that are done stay in the batch as they are, as in ``solvers.cg``: the prior gets whole
    batches, and the answer of a row does not depend on the others. A subclass overrides ``attempt``
    and, if it draws noise, ``increment`` and ``bridge``.

    States are z = x / alpha, and r = sigma / alpha is their noise.
    """

    grid: Grid = "logsnr"
    rtol: Positive = 1e-3
    atol: Positive = 1e-3

    @abstractmethod
    def attempt(
        self, prior: Prior, z: Tensor, ends: tuple[Tensor, Tensor], carry: Any, drawn: Any
    ) -> Trial:
        """Try the step between two times.

        Arguments:
            ends: The time of z, and the next one.
            carry: None, or that of a trial that ended in z.
            drawn: What ``increment`` or ``bridge`` returned for the step.
        """

    def increment(self, z: Tensor, r_t: Tensor, r_s: Tensor, noise: Noise | None) -> Any:
        """Return what a step draws."""
        return None

    def bridge(self, drawn: Any, ratios: Tensor, rows: Tensor, noise: Noise | None) -> Any:
        """Return what the two halves of a step draw, given what the whole did.

        Arguments:
            ratios: r at the start, the middle and the end of the step.
            rows: The rows that halve the step, of shape ``(B,)`` of bool.
        """
        return None, None

    def step(
        self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor, carry: Any, noise: Noise | None
    ) -> tuple[Tensor, Any]:
        schedule = prior.diffusion.schedule
        (alpha_t, _), (alpha_s, _) = schedule(t), schedule(s)
        drawn = self.increment(x_t, schedule.ratio(t), schedule.ratio(s), noise)
        z = x_t / alpha_t
        rows = torch.ones(len(z), dtype=torch.bool, device=z.device)
        trial = self._solve(prior, z, (t, s), (carry, drawn), (rows, noise, 0))
        return alpha_s * trial.z, trial.carry

    def _solve(
        self,
        prior: Prior,
        z: Tensor,
        ends: tuple[Tensor, Tensor],
        given: tuple[Any, Any],
        state: tuple[Tensor, Noise | None, int],
    ) -> Trial:
        """Return the step between two times, halved for those of ``rows`` that need it."""
        (t, s), (carry, drawn), (rows, noise, depth) = ends, given, state
        whole = self.attempt(prior, z, ends, carry, drawn)
        bad = rows & ~(whole.error <= 1)
        if depth == DEEPEST or not bad.any():
            return whole
        schedule = prior.diffusion.schedule
        r = schedule.ratio(torch.stack([t, s]))
        middle = schedule.time(r.log().mean().exp())
        ratios = torch.stack([r[0], schedule.ratio(middle), r[1]])
        first, second = self.bridge(drawn, ratios, bad, noise)
        deeper = bad, noise, depth + 1
        half = self._solve(prior, z, (t, middle), (carry, first), deeper)
        full = self._solve(prior, half.z, (middle, s), (half.carry, second), deeper)
        return _chosen(bad, full, whole)


def _chosen(rows: Tensor, new: Trial, old: Trial) -> Trial:
    """Return the trial that is ``new`` in some rows and ``old`` elsewhere."""

    def pick(a: Any, b: Any) -> Any:
        return torch.where(rows.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    carry = None if new.carry is None else pick(new.carry, old.carry)
    return Trial(pick(new.z, old.z), pick(new.error, old.error), carry)


def scaled_error(error: Tensor, size: Tensor, atol: float, rtol: float) -> Tensor:
    """Return the root mean square of error / (atol + rtol size) of each row, ``(B,)``.

    The sum is in float64 where the device has it, so that it does not depend on the batch.
    """
    scaled = ((error / (atol + rtol * size)) ** 2).flatten(1).to(wide_dtype(error))
    return scaled.mean(1).sqrt().to(error.dtype)
