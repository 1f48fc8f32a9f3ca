"""DPIR (Zhang et al., 2021): annealed plug-and-play, denoiser and data in turn."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..bands import in_bands
from ..batching import Callback, progress
from ..classical.fill import by_rows, local_means
from ..diffusions import GaussianDiffusion
from ..likelihoods.base import ConditionableLikelihood
from ..operators.base import LinearOperator
from ..operators.mask import Mask
from ..priors.base import Prior
from ..random import Noise
from ..schedules import grid
from ..validation import Positive, Whole
from .base import Method, Needs, Posterior

__all__ = ["DPIR"]

FEW, MANY = 12, 30  # rounds: those that go furthest, and those that need not
RELAXATION, MOMENTUM = 1.0, 0.3  # beyond x_0, with few

Conditionable = ConditionableLikelihood[LinearOperator]
P = Posterior[Conditionable]


@dataclass(frozen=True, kw_only=True)
class DPIR(Method[Conditionable]):
    """x_0 = D(x; r), then x = argmin_z ||y - A z||^2 + rho ||z - x_0||^2.

    rho = weight sigma^2 / r^2, and the noise level r falls from one round to the next. A is any
    linear operator: by its SVD, or by CG. Deterministic and without noise: close to a posterior
    mean, it favors PSNR over texture. Heuristic. "Plug-and-Play Image Restoration with Deep
    Denoiser Prior", https://arxiv.org/abs/2008.13751.

    Without a guess it starts from E[x | y] under x ~ N(0, I), which is A^+ y but for noise that
    A^+ would amplify. The paper has levels from 49 / 255 of [0, 1], as here, in 8 rounds for blur
    and 24 for super-resolution.

    A denoiser is a little off on images of no texture, and where nothing is measured these errors
    would add up. Behind a ``Mask`` the error at measured pixels shows them: with a ``spread`` its
    local mean is taken from x_0 where nothing is measured, too.

    A round moves where little is measured by a part of what is still missing, so that deep holes
    take many. With ``ahead`` each goes further (over-relaxation, and the heavy ball of Polyak,
    1964): x_0 becomes x + r (x_0 - x) + m (x - its value a round before). r = 2 and m = 0.3 suit 12
    rounds, which then do the work of 30; with more, both fall, and 30 are those of the paper. So is
    the last round. With noisy data it goes further only in what A does not measure (by A^+ A): it
    would take the noise for what is missing.

    Arguments:
        start, stop: First and last noise level, in units of the image ([-1, 1]); neither is
            ever below the noise of the data. The levels in between fall geometrically.
        steps: How many levels.
        weight: Trust in the prior against noisy data (lambda in the paper); exact data are kept.
        spread: Side of the blocks that this mean is of, in pixels; 0 for none, as in the paper.
        ahead: Whether fewer than 30 rounds go further; False as in the paper.
    """

    start: float | None = 98 / 255
    stop: Positive = 0.01
    steps: int = 30
    weight: Positive = 0.23
    spread: Whole = 0
    ahead: bool = False

    stochastic: ClassVar[bool] = False
    noise_levels: ClassVar[tuple[str, ...]] = ("start", "stop")
    needs: ClassVar[Needs] = Needs(GaussianDiffusion, ConditionableLikelihood, LinearOperator)

    def initial(
        self, p: Posterior[Any], guess: Tensor | None, images: Tensor, noise: Noise
    ) -> Tensor:
        if guess is None:
            zeros = p.prior.like.new_zeros(len(p.likelihood.y), *p.prior.shape)
            guess = p.likelihood.condition(zeros, 1.0)
        return super().initial(p, guess, images, noise)

    def noised(self, prior: Prior, x_0: Tensor, noise: Noise) -> Tensor:
        return x_0

    def run(self, p: P, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        end = float(p.schedule.time(max(self.stop, p.likelihood.sigma)))
        start = max(self.start_time(p.prior), end)
        times = grid(p.schedule, "logsnr", max(self.steps - 1, 1), start, end)
        x, last = x_T, x_T
        del x_T  # a large image is let go where it is not looked at again
        for i, (t, report) in enumerate(progress(times[: self.steps].unbind(), callback), 1):
            alpha_t, sigma_t = p.schedule(t)
            goal = self._leveled(p, p.prior(alpha_t * x, t))
            if i < self.steps:
                goal = self._beyond(p, goal, x, last)
            last = x if self._share else goal
            x = goal
            x = p.likelihood.condition(goal, (sigma_t / alpha_t) ** 2 / self.weight)
            report(x)
        return x if p.likelihood.sigma == 0 else goal

    @property
    def _share(self) -> float:
        """The share of the way that is gone beyond x_0; 0 for none."""
        return min(max((MANY - self.steps) / (MANY - FEW), 0), 1) if self.ahead else 0.0

    def _beyond(self, p: P, x_0: Tensor, x: Tensor, last: Tensor) -> Tensor:
        """Return where a round goes, which is its x_0 or beyond.

        Arguments:
            x: Where it comes from.
            last: Where the round before came from.
        """
        share, A = self._share, p.likelihood.operator
        if share == 0:
            return x_0

        def further(x_0: Tensor, x: Tensor, last: Tensor) -> Tensor:
            return share * (RELAXATION * (x_0 - x) + MOMENTUM * (x - last))

        if p.likelihood.sigma == 0:
            return in_bands(lambda *states: states[0] + further(*states), x_0, x, last)
        more = in_bands(further, x_0, x, last)
        return x_0 + (more - A.pinv(A(more)))

    def _leveled(self, p: P, x_0: Tensor) -> Tensor:
        """Return x_0 without the local mean of its error where nothing is measured."""
        A = p.likelihood.operator
        if not self.spread or not isinstance(A, Mask) or x_0.ndim != 4:
            return x_0
        known = (A.s != 0).to(x_0)
        error = torch.empty_like(x_0)
        for part, at in p.likelihood.parts(x_0):
            error[at] = part.operator.pinv(part.residual(x_0[at]))
        means = local_means(error, known, self.spread)
        del error
        known = known.expand(*known.shape[:-2], *x_0.shape[-2:])

        def leveled(rows: slice) -> Tensor:
            return x_0[..., rows, :] + (1 - known[..., rows, :]) * means(rows)

        return by_rows(leveled, x_0, self.spread)
