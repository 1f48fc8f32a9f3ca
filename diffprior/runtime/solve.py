"""From a problem, images and settings to samples of the posterior."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor

from ..batching import Callback, part_callback
from ..errors import ResidualWarning
from ..io.arrays import Images
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..methods.base import Method
from ..priors.base import Prior, show_image
from ..random import stream_ids
from ..validation import warn
from .boxes import InBoxes, fits_boxes, solve_in_boxes
from .defaults import choose_methods
from .limits import check_result
from .memory import batch_size, image_shape, measured_pixels
from .noise_level import ROUNDING, noise_levels
from .placement import fit_prior, place_prior
from .problem import Part, Problem, ProblemFor, ProblemInParts, Stated
from .report import Meter, join_reports, report_header
from .results import Result, make_result
from .settings import Settings

__all__ = ["DECODED", "solve"]

DECODED = 0.02  # [0, 1]; the noise that is assumed in exact data behind a decoder


def solve(
    task: str, images: Images | None, stated: Stated | InBoxes, settings: Settings
) -> Result[Any]:
    """Return the result of a task: its prior is opened, its problem is solved.

    Arguments:
        images: The images of the call; None where the problem has its own.
    """
    prior = place_prior(settings.prior, settings.device, settings.dtype, settings.loading)
    if isinstance(stated, InBoxes):
        assert images is not None, "the boxes are parts of the images of the call"
        if fits_boxes(prior, settings):
            return solve_in_boxes(task, images, stated, prior, settings, solve)
        stated = stated.whole()
    if isinstance(stated, ProblemInParts):
        assert images is not None, "the parts are those of the images of the call"
        solved = _solve_parts(task, images, stated.parts(prior), prior, settings)
    else:
        solved = _solve(task, images, stated, prior, settings)
    return make_result(
        solved.images,
        solved.x,
        solved.cover,
        settings.samples,
        dict(solved.report),
        solved.opaque,
    )


class _Solved(NamedTuple):
    """What a problem came to: images ``(B * n, C, H, W)``, their cover and their report."""

    images: Images
    x: Tensor
    cover: Tensor | None
    report: Mapping[str, Any]
    opaque: bool


def _solve(
    task: str,
    images: Images | None,
    stated: Problem | ProblemFor,
    prior: Prior,
    settings: Settings,
) -> _Solved:
    """Return what a problem comes to.

    Arguments:
        prior: The prior of the call, as it was opened.
    """
    if isinstance(stated, ProblemFor):
        size = stated.size(prior) if callable(stated.size) else stated.size
        check_result(size, images, settings.samples)
        prior = fit_prior(prior, (3, *size), settings, widen=stated.widen)
        problem = stated.problem(prior)
    else:
        problem = stated
        height, width = _images(problem, images).size
        size = (problem.scale * height, problem.scale * width)
        check_result(size, images, settings.samples)
        prior = fit_prior(prior, (3, *size), settings)
    if problem.check is not None:
        problem.check(prior)
    like = _images(problem, images)
    solver = _Solver.of(problem, like, prior, settings)
    report = report_header(task, prior, settings) | solver.report()
    if problem.nothing_to_do is not None:
        x = like.tensor()
        report |= {"note": problem.nothing_to_do, "method": None}
    else:
        x, counts = solver.draw()
        report |= counts
    return _Solved(like, x, problem.cover, report, problem.opaque)


def _solve_parts(
    task: str, images: Images, parts: list[Part], prior: Prior, settings: Settings
) -> _Solved:
    """Return what the parts of a batch come to, in the order of the batch."""
    ids = stream_ids(settings.ids, len(images))
    solved = []
    for k, part in enumerate(parts):
        own = replace(
            settings,
            ids=[ids[i] for i in part.rows],
            callback=part_callback(settings.callback, k, len(parts)),
        )
        solved.append(_solve(task, _of_rows(images, part.rows), part.stated, prior, own))
    if len(solved) == 1:
        return solved[0]._replace(images=images)
    rows = [i for part in parts for i in part.rows]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    n = max(len(s.x) // len(s.images) for s in solved)  # 1 where there was nothing to do
    drawn = [s.x.repeat_interleave(n * len(s.images) // len(s.x), 0) for s in solved]
    x = [samples for part in drawn for samples in torch.split(part, n)]
    covers = [s.cover for s in solved if s.cover is not None]
    return _Solved(
        images=images,
        x=torch.cat([x[i] for i in order]),
        cover=torch.cat(covers)[order] if covers else None,
        report=join_reports([s.report for s in solved], order),
        opaque=solved[0].opaque,
    )


def _of_rows(images: Images, rows: list[int]) -> Images:
    """Return some images of a batch; what is made of them takes its kind from all of it."""
    alpha = None if images.alpha is None else images.alpha[rows]
    return replace(images, values=images.values[rows], alpha=alpha)


def _images(problem: Problem, images: Images | None) -> Images:
    """Return the images that a result takes its kind from."""
    like = images if problem.images is None else problem.images
    assert like is not None, "a problem without images is about those of the call"
    return like


class _Group(NamedTuple):
    """Images of a batch that are solved together."""

    rows: Tensor
    level: float  # noise, in [0, 1] units
    method: Method[Any]


@dataclass(frozen=True, kw_only=True)
class _Solver:
    """A problem, its images and its prior, with the noise level and the method of each image."""

    problem: Problem
    images: Images
    prior: Prior
    settings: Settings
    levels: list[float]
    methods: list[Method[Any]]

    @classmethod
    def of(cls, problem: Problem, images: Images, prior: Prior, settings: Settings) -> Self:
        sigma = problem.sigma
        judge = prior if problem.white else None
        levels = (
            sigma if isinstance(sigma, list) else noise_levels(sigma, images, problem.least, judge)
        )
        return cls(
            problem=problem,
            images=images,
            prior=prior,
            settings=settings,
            levels=levels,
            methods=choose_methods(problem, prior, levels, settings),
        )

    @property
    def white(self) -> bool:
        """Whether the noise is white, of the levels of the problem."""
        return self.problem.likelihood is GaussianLikelihood

    @cached_property
    def x(self) -> Tensor:
        """The part of the images that is worked on, ``(B, C, H, W)`` on the prior's device."""
        x = measured_pixels(self.images, self.prior)
        return x if self.problem.window is None else self.problem.window.cut(x)

    @cached_property
    def likelihood(self) -> Likelihood[Any]:
        """The likelihood of all images; white noise is added to it level by level."""
        A = self.problem.operator.for_shape(image_shape(self.prior)).to(self.prior.like.device)
        return self.problem.likelihood(operator=A, y=self.problem.measure(self.x))

    @cached_property
    def guess(self) -> Tensor | None:
        """First guesses of all images; None where no method starts from one."""
        wanted = any(method.takes_guess for method in self.methods)
        return self.problem.guess(self.x) if self.problem.guess is not None and wanted else None

    @cached_property
    def ids(self) -> Sequence[int | str]:
        """The names of the noise streams."""
        return stream_ids(self.settings.ids, len(self.images))

    def report(self) -> dict[str, Any]:
        """Return the keys of a report that say what is solved."""
        levels = {"sigma": self.levels} if self.white else {}
        return {"seed": self.settings.seed, **levels, **self.problem.report}

    def draw(self) -> tuple[Tensor, dict[str, Any]]:
        """Return samples ``(B * n, C, H, W)``, images first, and the counts for their report."""
        meter = Meter()
        n = self.settings.samples if self.methods[0].stochastic else 1
        samples = [torch.empty(0)] * len(self.images)
        fits = [0.0] * len(self.images)
        groups = self._groups()
        for k, group in enumerate(groups):
            callback = part_callback(self.settings.callback, k, len(groups))
            x, fit = self._draw_group(group, n, meter, callback)
            for j, i in enumerate(group.rows):
                samples[i] = x[j]
                fits[i] = fit[j]
        x = self._finished(torch.cat(samples))
        counts: dict[str, Any] = {
            "method": "; ".join(dict.fromkeys(repr(group.method) for group in groups)),
            "samples": n,
            **meter.report(),
        }
        if self.white and any(self.levels):
            counts["chi2"] = [round(fit, 3) for fit in fits]
            _warn_of_misfit(self.levels, fits)
        return x, counts

    def _groups(self) -> list[_Group]:
        """Return the images by noise level and method; each alone on a CPU (``batch_size``)."""
        count = len(self.images)
        if batch_size(self.prior) == 1:
            return [
                _Group(torch.tensor([i]), self.levels[i], self.methods[i]) for i in range(count)
            ]
        keys = list(zip(self.levels, self.methods, strict=True))
        distinct = sorted(dict.fromkeys(keys), key=lambda key: self.levels.index(key[0]))
        return [
            _Group(torch.tensor([i for i in range(count) if keys[i] == key]), *key)
            for key in distinct
        ]

    @property
    def _shown(self) -> bool:
        """Whether the network is shown what is known of the image."""
        return self.problem.keep is not None and self.prior.sees_image

    def _draw_group(
        self, group: _Group, n: int, meter: Meter, callback: Callback | None
    ) -> tuple[Tensor, list[float]]:
        """Return the samples of a group, ``(b, n, C, H, W)``, and the chi2 of each image."""
        known = self.likelihood.select(group.rows)
        prior = self._prior_of(group)
        with meter.on(prior):
            x = group.method(
                prior,
                self._assumed(known, group.level),
                n,
                self.settings.seed,
                guess=None if self.guess is None else self.guess[group.rows],
                ids=[self.ids[i] for i in group.rows],
                batch_size=batch_size(prior),
                callback=callback,
            )
        x = x.reshape(-1, *x.shape[-3:])
        fits = [0.0] * len(group.rows)
        if self.white:
            each = torch.arange(len(group.rows)).repeat_interleave(n)
            rows = replace(cast(Any, known), sigma=2 * group.level).select(each)
            if group.level == 0:  # a chain ends at the schedule's last noise level, not at none
                x = rows.condition(x, 1.0)
            else:
                fits = rows.chi2(x).reshape(-1, n).mean(1).tolist()
        return x.reshape(-1, n, *x.shape[1:]), fits

    def _prior_of(self, group: _Group) -> Prior:
        """Return the prior of a group, its network shown the image where it sees one."""
        if not self._shown or self.problem.keep is None:
            return self.prior
        keep = self.problem.keep[group.rows].to(self.x)
        return show_image(self.prior, self.x[group.rows] * keep, 1 - keep)

    def _assumed(self, likelihood: Likelihood[Any], level: float) -> Likelihood[Any]:
        """Return a likelihood with the noise that a method is to assume."""
        if not self.white:
            return likelihood
        least = DECODED if self.prior.latent else 0.0
        return replace(cast(Any, likelihood), sigma=2 * max(level, least))

    def _finished(self, x: Tensor) -> Tensor:
        """Return samples as the problem finishes them, in their place in the whole images."""
        if self.problem.finish is not None:
            x = self.problem.finish(x)
        window = self.problem.window
        return x if window is None else window.paste(x, self.images.tensor())


def _warn_of_misfit(levels: list[float], fits: list[float]) -> None:
    """Warn of the first residual that the noise does not explain."""
    for level, chi2 in zip(levels, fits, strict=True):
        low = 0.5 if level > ROUNDING else 0.0  # at that of rounding there may be no noise at all
        if level > 0 and not low <= chi2 <= 2:
            warn(
                f"the residual is {chi2:.2g} times what noise of sigma {level:.3g} leaves: try a "
                f"{'smaller' if chi2 < 1 else 'larger'} sigma, another method, or more steps",
                ResidualWarning,
            )
            return
