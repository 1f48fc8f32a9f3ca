"""Images of a batch that are solved under one prior: those in color, and the gray ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from ..bands import is_large, put_down, rows_of
from ..diffusions import GaussianDiffusion
from ..io.arrays import Images
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..methods.base import Method
from ..phases import phase
from ..priors.base import Prior, show_image
from ..priors.conditioned import conditioned_prior, under_measurements
from ..priors.gray import GrayPrior
from .gray import Tone, gray_images, tones
from .memory import image_shape, measured_pixels
from .noise_level import noise_levels, read_sigma
from .problem import Problem

__all__ = ["Kind", "split"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The images of a batch that have one prior, and the problem of the whole batch under it.

    Attributes:
        rows: Their numbers in the batch.
        tones: Tones of those that are gray but for that.
    """

    rows: list[int]
    prior: Prior
    problem: Problem
    images: Images
    tones: Mapping[int, Tone] = field(default_factory=dict)
    _held: Tensor | None = field(default=None, init=False)

    def levels(self) -> list[float]:
        """Return the noise level of each image of the kind, in [0, 1] units."""
        sigma = self.problem.sigma
        if isinstance(sigma, list):
            return [sigma[i] for i in self.rows]
        judge = self.prior if self.problem.white else None
        return noise_levels(sigma, self.images.select(self.rows), self.problem.least, judge)

    @property
    def estimates(self) -> bool:
        """Whether the noise levels are estimated, not given."""
        return self.problem.sigma == "auto"

    @property
    def x(self) -> Tensor:
        """What is worked on of all images, ``(B, C, H, W)`` on the prior's device.

        A large image is made anew each time: it is not held while it is worked on.
        """
        if self._held is not None:
            return self._held
        x = measured_pixels(self.images, self.prior)
        x = x if self.problem.window is None else self.problem.window.cut(x)
        if not is_large(x):
            object.__setattr__(self, "_held", x)
        return x

    @cached_property
    def likelihood(self) -> Likelihood[Any]:
        """The likelihood of all images; white noise is added to it level by level."""
        A = self.problem.operator.for_shape(image_shape(self.prior)).beside(self.prior.like)
        return self.problem.likelihood(operator=A, y=put_down(self.problem.measure(self.x)))

    @cached_property
    def guess(self) -> Tensor | None:
        """First guesses of all images; None where there is none."""
        return None if self.problem.guess is None else self.problem.guess(self.x)

    def guess_of(self, rows: Tensor) -> Callable[[], Tensor] | None:
        """Return what makes the first guesses of some images; that of a single one is not held."""
        make = self.problem.guess
        if make is None:
            return None
        if len(self.images) == 1:
            return lambda: make(self.x)
        guess = self.guess
        assert guess is not None
        return lambda: rows_of(guess, rows)

    @property
    def shown(self) -> bool:
        """Whether the network is shown what is known of the image."""
        if conditioned_prior(self.prior) is not None:
            return self._measured
        return self.problem.keep is not None and self.prior.sees_image

    @cached_property
    def _measured(self) -> bool:
        """Whether y is what the network was trained to see."""
        leaf = conditioned_prior(self.prior)
        return (
            leaf is not None
            and leaf.shape == image_shape(self.prior)
            and leaf.measures(self.problem.operator.for_shape(leaf.shape).beside(leaf.like))
        )

    def suited(self, method: Method[Any]) -> Method[Any]:
        """Return a method for the states of the prior.

        Settings are noise levels of color images. Of a gray image as much is known at a noise of
        1 / sqrt(3) of that.
        """
        return method.at_levels(3**-0.5) if isinstance(self.prior, GrayPrior) else method

    def prior_of(self, rows: Tensor) -> Prior:
        """Return the prior of some images, its network shown the image where it sees one.

        A network that was trained to see y is shown it; the likelihood counts, too.
        """
        if not self.shown:
            return self.prior
        if conditioned_prior(self.prior) is not None:
            return under_measurements(self.prior, self.likelihood.select(rows).y)
        if self.problem.keep is None:
            return self.prior
        keep = self.problem.keep[rows].to(self.x)
        return show_image(self.prior, self.x[rows] * keep, 1 - keep)


def split(
    images: Images, prior: Prior, problem: Problem, state: Callable[[Prior], Problem] | None
) -> list[Kind]:
    """Return the images of a batch in color and the gray ones, those that there are.

    The noise of a gray image is the same in the three channels that a prior of color images sees.
    In one channel it is white again, is estimated on its own scale, and counts once. So it is in an
    image of one tone, where there is noise.

    Arguments:
        problem: That of the whole batch under the prior.
        state: States it under another prior; None where it does not depend on that.
    """
    everything = range(len(images))
    if problem.makes_colors or not _knows_colors(prior):
        return [Kind(rows=list(everything), prior=prior, problem=problem, images=images)]
    phase("looking at colors")
    gray = gray_images(images, problem.lost)
    toned: dict[int, Tone] = {}
    if _may_be_noisy(problem) and not all(gray):
        found = tones(images, problem.lost)
        toned = {i: tone for i, tone in enumerate(found) if tone is not None and not gray[i]}
    kinds = []
    if rows := [i for i in everything if not gray[i] and i not in toned]:
        kinds.append(Kind(rows=rows, prior=prior, problem=problem, images=images))
    if rows := [i for i in everything if gray[i] or i in toned]:
        below = GrayPrior(prior)
        restated = problem if state is None else state(below)
        kinds.append(Kind(rows=rows, prior=below, problem=restated, images=images, tones=toned))
    return kinds


def _knows_colors(prior: Prior) -> bool:
    """Return whether a prior knows images in color, pixel by pixel."""
    return (
        not prior.latent
        and not prior.sees_image
        and isinstance(prior.diffusion, GaussianDiffusion)
        and len(prior.shape) == 3
        and prior.shape[0] == 3
    )


def _may_be_noisy(problem: Problem) -> bool:
    """Return whether y may have white noise."""
    levels = problem.sigma if isinstance(problem.sigma, list) else [read_sigma(problem.sigma)]
    return problem.likelihood is GaussianLikelihood and any(level != 0 for level in levels)
