"""What a restoring task returns: y = A x + noise, and how to solve it by default."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from ..bands import let_go, stored
from ..io.arrays import Images
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..methods.base import Method
from ..operators.base import Operator
from ..priors.base import Prior

__all__ = [
    "BEHIND",
    "Default",
    "Part",
    "Problem",
    "ProblemFor",
    "ProblemInParts",
    "Stated",
    "Window",
    "parts_of",
]

BEHIND = (  # a decoder, for one result and for several; docs/methods.md has the figures
    "resample(sampler=ancestral(steps=50), iterations=10, rate=0.1)",
    "daps(steps=50, var=1.0, inner='hmc', iterations=20)",
)

Default = str | Sequence[str | Method[Any]]  # a method for all images, or one for each


class Window(NamedTuple):
    """A part of an image that is worked on by itself."""

    rows: slice
    columns: slice

    @property
    def size(self) -> tuple[int, int]:
        """The size ``(H, W)`` of the part."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First and last row, first and last column; the last ones are excluded."""
        return self.rows.start, self.rows.stop, self.columns.start, self.columns.stop

    def cut(self, x: Tensor) -> Tensor:
        """Return the part of images ``(B, C, H, W)``."""
        return x[..., self.rows, self.columns]

    def paste(self, x: Tensor, whole: Tensor) -> Tensor:
        """Return images ``(B, C, H, W)``, each repeated to hold all of its parts in x."""
        each = len(x) // len(whole)
        out = stored((len(x), *whole.shape[1:]), whole)
        for i, part in enumerate(x):
            out[i] = whole[i // each]
            self.cut(out[i])[:] = part.to(out)
            let_go(out)
        return out


def _same(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """y = A x + sigma eps, for a batch of images, and the method that suits it.

    Functions here get images ``(B, C, H, W)`` in [-1, 1] on the device of the prior, with one
    channel for a prior of gray images, and where the images themselves are gray.

    Attributes:
        operator: A. One that takes any shape gets that of the prior's images.
        sigma: Standard deviation of the noise, in [0, 1] units: one for all images; "auto" to
            estimate that of each; or a list of one for each.
        least: Least value of an estimate.
        white: Whether y is the image with white noise and nothing else, so that an estimate may
            ask the prior, which knows texture from noise.
        measure: Makes y of the images of the call.
        guess: Makes first guesses of the result of them; None where there is none.
        likelihood: Kind of the likelihood; others than ``GaussianLikelihood`` have no sigma.
        one, several: Default methods for one result and for several. In a text, ``{level}`` is the
            noise level in [-1, 1] units; such a method is a single step, and ``steps`` leaves it
            as it is.
        latent: The same two for latent priors.
        shown: Default methods, one for each image, of a network that sees the image and ``keep``;
            None for the others.
        scale: Factor from the size of the images to that of the result.
        keep: Pixels that a network which sees the image is shown, ``(B, 1, H, W)`` of bool.
        window: Part of each image that is worked on; None is all.
        images: Images that the result takes its kind from, where they are not those of the call.
        cover: Weight of the result over the image, ``(B, 1, H, W)`` in [0, 1]; None is 1.
        opaque: Whether the result loses the transparency of the image.
        makes_colors: Whether the result of a gray image has colors.
        lost: True where the images say nothing of what they show, ``(B, 1, H, W)``.
        check: Refuses priors that cannot solve the problem.
        finish: Makes the final samples of samples ``(B * n, C, H, W)``.
        nothing_to_do: Remark of a report where the images are the result; None where they are not.
        report: Further keys of the report.
    """

    operator: Operator
    sigma: float | str | list[float] = 0.0
    least: float = 0.0
    white: bool = False
    measure: Callable[[Tensor], Tensor] = _same
    guess: Callable[[Tensor], Tensor] | None = _same
    likelihood: type[Likelihood[Any]] = GaussianLikelihood
    one: Default
    several: Default
    latent: tuple[Default, Default] = BEHIND
    shown: Sequence[Method[Any]] | None = None
    scale: int = 1
    keep: Tensor | None = None
    window: Window | None = None
    images: Images | None = None
    cover: Tensor | None = None
    opaque: bool = False
    makes_colors: bool = False
    lost: Tensor | None = None
    check: Callable[[Prior], None] | None = None
    finish: Callable[[Tensor], Tensor] | None = None
    nothing_to_do: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProblemFor:
    """A problem that depends on the prior, such as on whether that knows colors.

    Attributes:
        size: Size ``(H, W)`` of what the prior works on, in pixels; or a function of the prior,
            before that is fit to a size.
        problem: Makes the problem of the prior of this size.
        widen: Makes a control image of the size of the result one of this size; None where the
            two are the same.
    """

    size: tuple[int, int] | Callable[[Prior], tuple[int, int]]
    problem: Callable[[Prior], Problem]
    widen: Callable[[Tensor], Tensor] | None = None


class Part(NamedTuple):
    """Images of a batch that have a problem of their own.

    Attributes:
        rows: Their numbers.
        stated: Their problem.
    """

    rows: list[int]
    stated: ProblemFor


@dataclass(frozen=True, kw_only=True)
class ProblemInParts:
    """Problems of images that cannot share one, such as of those with windows of their own.

    An image gets the same result in any company: what is worked on is not that of the batch.

    Attributes:
        parts: Makes the parts for a prior, before that is fit to a size.
    """

    parts: Callable[[Prior], list[Part]]


def parts_of(
    windows: Sequence[Window], problem: Callable[[list[int], Window, Prior], Problem]
) -> list[Part]:
    """Return the parts of a batch by the windows of its images.

    Arguments:
        windows: The window of each image.
        problem: Makes the problem of the images of these numbers in this window.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    for i, window in enumerate(windows):
        rows.setdefault(window.box, []).append(i)
    parts = []
    for own in rows.values():
        window = windows[own[0]]
        stated = ProblemFor(size=window.size, problem=partial(problem, own, window))
        parts.append(Part(own, stated))
    return parts


Stated = Problem | ProblemFor | ProblemInParts  # what the page of a restoring task returns
