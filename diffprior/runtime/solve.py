"""From a problem, images and settings to samples of the posterior."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor

from ..bands import is_large, let_go, stored
from ..batching import Callback
from ..errors import ResidualWarning
from ..io.arrays import Images
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..methods.base import Method
from ..priors.base import Prior
from ..priors.network import chains_at_once
from ..random import stream_ids
from ..turns import in_turns, joint_callbacks
from ..validation import warn
from .boxes import InBoxes, fits_boxes, solve_in_boxes
from .defaults import choose_methods
from .kinds import Kind, split
from .limits import check_result
from .memory import batch_size, samples_at_once
from .noise_level import ROUNDING
from .placement import fit_prior, place_prior
from .places import placed
from .problem import Part, Problem, ProblemFor, ProblemInParts, Stated
from .report import Meter, join_reports, report_header
from .results import Result, make_result
from .settings import Settings

__all__ = ["DECODED", "solve"]

DECODED = 0.02  # [0, 1]; the noise that is assumed in exact data behind a decoder
VISIBLE = 5 / 255  # [0, 1]; a person sees white noise from about here on


def solve(
    task: str, images: Images | None, stated: Stated | InBoxes, settings: Settings
) -> Result[Any]:
    """Return the result of a task: its prior is opened, its problem is solved.

    Arguments:
        images: The images of the call; None where the problem has its own.
    """
    prior = place_prior(
        settings.prior, settings.device, settings.dtype, settings.loading, settings.backend
    )
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
        before=images,
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
    state = stated.problem if isinstance(stated, ProblemFor) else None
    solver = _Solver.of(split(like, prior, problem, state), settings)
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
    callbacks = joint_callbacks(settings.callback, len(parts))
    pieces = []
    for part, callback in zip(parts, callbacks, strict=True):
        own = replace(settings, ids=[ids[i] for i in part.rows], callback=callback)
        pieces.append(partial(_solve, task, images.select(part.rows), part.stated, prior, own))
    solved = in_turns(pieces, chains_at_once(prior, images.size))
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


def _images(problem: Problem, images: Images | None) -> Images:
    """Return the images that a result takes its kind from."""
    like = images if problem.images is None else problem.images
    assert like is not None, "a problem without images is about those of the call"
    return like


class _Group(NamedTuple):
    """Images of a batch that are solved together."""

    kind: Kind
    rows: Tensor
    level: float  # noise, in [0, 1] units
    method: Method[Any]


@dataclass(frozen=True, kw_only=True)
class _Solver:
    """Images and their problem, with the kind, the noise level and the method of each image."""

    problem: Problem
    images: Images
    settings: Settings
    kinds: list[Kind]
    levels: list[float]
    methods: list[Method[Any]]

    @classmethod
    def of(cls, kinds: Sequence[Kind], settings: Settings) -> Self:
        images = kinds[0].images
        kind_of = {i: kind for kind in kinds for i in kind.rows}
        level_of = {i: v for kind in kinds for i, v in zip(kind.rows, kind.levels(), strict=True)}
        levels = [level_of[i] for i in range(len(images))]
        chosen = {
            id(kind): choose_methods(kind.problem, kind.prior, levels, settings) for kind in kinds
        }
        return cls(
            problem=kinds[0].problem,
            images=images,
            settings=settings,
            kinds=[kind_of[i] for i in range(len(images))],
            levels=levels,
            methods=[chosen[id(kind_of[i])][i] for i in range(len(images))],
        )

    @property
    def white(self) -> bool:
        """Whether the noise is white, of the levels of the problem."""
        return self.problem.likelihood is GaussianLikelihood

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
        callbacks = joint_callbacks(self.settings.callback, len(groups))
        pieces = [
            partial(self._draw_group, group, n, meter, callback)
            for group, callback in zip(groups, callbacks, strict=True)
        ]
        together = min(chains_at_once(kind.prior) for kind in self.kinds)
        for group, (x, fit) in zip(groups, in_turns(pieces, together), strict=True):
            for j, i in enumerate(group.rows):
                samples[i] = x[j].expand(-1, 3, -1, -1)  # of gray ones the channel is repeated
                fits[i] = fit[j]
        whole = samples[0] if len(samples) == 1 else torch.cat(samples)
        del samples
        x = self._in_color(self._finished(whole), n)
        counts: dict[str, Any] = {
            "method": "; ".join(dict.fromkeys(repr(group.method) for group in groups)),
            "samples": n,
            **meter.report(),
        }
        if self.white and any(self.levels):
            counts["chi2"] = [round(fit, 3) for fit in fits]
            _warn_of_misfit(self.levels, fits, [kind.estimates for kind in self.kinds])
        return x, counts

    def _groups(self) -> list[_Group]:
        """Return the images by noise level and method; each alone on a CPU (``batch_size``)."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        keys = zip(self.kinds, self.levels, self.methods, strict=True)
        for i, (kind, level, method) in enumerate(keys):
            alone = i if batch_size(kind.prior) == 1 else None
            groups.setdefault((id(kind), level, method, alone), []).append(i)
        return [
            _Group(self.kinds[rows[0]], torch.tensor(rows), level, method)
            for (_, level, method, _), rows in groups.items()
        ]

    def _draw_group(
        self, group: _Group, n: int, meter: Meter, callback: Callback | None
    ) -> tuple[Tensor, list[float]]:
        """Return the samples of a group, ``(b, n, C, H, W)``, and the chi2 of each image."""
        kind = group.kind
        known = kind.likelihood.select(group.rows)
        prior = kind.prior_of(group.rows)
        guess = kind.guess_of(group.rows) if group.method.takes_guess else None
        with meter.on(prior), placed(self.problem.window):
            x = kind.suited(group.method)(
                prior,
                self._assumed(known, group),
                n,
                self.settings.seed,
                guess=guess,
                ids=[self.ids[i] for i in group.rows],
                batch_size=samples_at_once(prior),
                callback=callback,
            )
        x = x.reshape(-1, *x.shape[-3:])
        fits = [0.0] * len(group.rows)
        if self.white:
            each = torch.arange(len(group.rows)).repeat_interleave(n)
            rows = replace(cast(Any, known), sigma=2 * group.level)
            if group.level == 0:  # a chain ends at the schedule's last noise level, not at none
                x = _conditioned(rows, each, x)
            else:
                fits = _chi2(rows, each, x).reshape(-1, n).mean(1).tolist()
        return x.reshape(-1, n, *x.shape[1:]), fits

    def _assumed(self, likelihood: Likelihood[Any], group: _Group) -> Likelihood[Any]:
        """Return a likelihood with the noise that a method is to assume."""
        if not self.white:
            return likelihood
        least = DECODED if group.kind.prior.latent else 0.0
        return replace(cast(Any, likelihood), sigma=2 * max(group.level, least))

    def _in_color(self, x: Tensor, n: int) -> Tensor:
        """Return finished samples with the colors of images that have one tone."""
        for i, kind in enumerate(self.kinds):
            if tone := kind.tones.get(i):
                rows = slice(i * n, (i + 1) * n)
                x = _copied(x) if x.stride(1) == 0 else x
                x[rows] = tone.color(x[rows, :1])
        return x

    def _finished(self, x: Tensor) -> Tensor:
        """Return samples as the problem finishes them, in their place in the whole images."""
        if self.problem.finish is not None:
            x = self.problem.finish(x)
        window = self.problem.window
        return x if window is None else window.paste(x, self.images.tensor())


def _conditioned(known: GaussianLikelihood[Any], each: Tensor, x: Tensor) -> Tensor:
    """Return samples as exact data have them; large ones one at a time, in their place.

    Arguments:
        each: The number of the image that each sample is of.
    """
    if len(x) == 1 or not is_large(x[:1]):
        return known.select(each).condition(x, 1.0)
    for j, image in enumerate(torch.split(each, 1)):
        row = x[j : j + 1]
        row[:] = known.select(image).condition(row, 1.0)
        let_go(x)
    return x


def _copied(x: Tensor) -> Tensor:
    """Return a copy of samples."""
    out = stored(x.shape, x)
    for row, values in zip(out, x, strict=True):
        row[:] = values
        let_go(out)
    return out


def _chi2(known: GaussianLikelihood[Any], each: Tensor, x: Tensor) -> Tensor:
    """Return the chi2 of samples, ``(B * n,)``; large ones are looked at one at a time."""
    if len(x) == 1 or not is_large(x[:1]):
        return known.select(each).chi2(x)
    rows = zip(torch.split(each, 1), torch.split(x, 1), strict=True)
    return torch.cat([known.select(image).chi2(row) for image, row in rows])


def _warn_of_misfit(levels: list[float], fits: list[float], estimates: list[bool]) -> None:
    """Warn of the first residual that the noise does not explain."""
    for level, chi2, is_estimate in zip(levels, fits, estimates, strict=True):
        # at that of rounding there may be no noise; nobody sees what a low estimate takes away
        low = 0.5 if level > (VISIBLE if is_estimate else ROUNDING) else 0.0
        if level > 0 and not low <= chi2 <= 2:
            warn(
                f"the residual is {chi2:.2g} times what noise of "
                f"{'an estimated ' if is_estimate else ''}sigma {level:.3g} leaves: try a "
                f"{'smaller' if chi2 < 1 else 'larger'} sigma, another method, or more steps",
                ResidualWarning,
            )
            return
