"""What all tasks share: the way from images, their noise and a method to posterior samples."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from ..batching import Callback, part_callback
from ..catalog import SettingError
from ..errors import ResidualWarning
from ..io.arrays import Images
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..methods.base import Method
from ..metrics import noise_level
from ..operators.base import Operator
from ..priors.base import Prior
from ..random import stream_ids
from . import noise_level as estimation
from .defaults import DECODED
from .memory import batch_size, image_shape
from .report import Meter
from .results import Result, make_result

__all__ = [
    "ROUNDING",
    "Solved",
    "draw",
    "measured_pixels",
    "merge_reports",
    "noise_levels",
    "recover",
    "solve",
]

Solved = tuple[Tensor, dict[str, Any]]  # samples (B * n, *shape), and how they were made
ROUNDING = 1 / 255  # [0, 1]; the noise that is reckoned with in an 8-bit image without any


def noise_levels(
    sigma: float | str, given: Images, least: float = 0.0, model: Prior | None = None
) -> list[float]:
    """Return the noise of each image in [0, 1] units: as given, or estimated if it is "auto".

    Arguments:
        least: What an estimate is never below.
        model: A prior of these images, if they are images and white noise and nothing else; it
            knows texture from noise.
    """
    if sigma == "auto":
        found = noise_level(given.tensor()).tolist()
        if model is not None and not model.latent:
            x = measured_pixels(given, model)
            found = [estimation.noise_level(model, x[i : i + 1], s) for i, s in enumerate(found)]
        return [max(level, least) for level in found]
    try:
        level = float(sigma)
    except (TypeError, ValueError):
        level = -1.0
    if not 0 <= level <= 1:
        raise SettingError(f"sigma lies in [0, 1], the range of an image, or is auto; got {sigma}")
    return [level] * len(given)


def measured_pixels(given: Images, model: Prior) -> Tensor:
    """Return images as they are measured, ``(B, C, H, W)``: gray for a prior of one channel."""
    x = given.tensor().to(model.like)
    return x if model.latent else model.encode(x)


def solve(
    prior: Prior,
    likelihood: Likelihood[Any],
    methods: Sequence[Method[Any]],
    samples: int,
    seed: int,
    *,
    guess: Callable[[], Tensor] | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
) -> Solved:
    """Return samples ``(B * n, *shape)``, images first, and the report of how they were made.

    Arguments:
        methods: One for each image; images of the same one run as one batch. Those that give
            one answer whatever the seed are asked for one, n = 1.
        guess: First guesses ``(B, *shape)``, made only where a method starts from one.
    """
    start, meter, count = time.perf_counter(), Meter(), len(methods)
    n = samples if methods[0].stochastic else 1
    first = guess() if guess and any(m.start is not None for m in methods) else None
    ids = stream_ids(ids, count)
    found = [torch.empty(0)] * count
    with meter.on(prior):
        for k, method in enumerate(kinds := dict.fromkeys(methods)):
            index = torch.tensor([i for i in range(count) if methods[i] == method])
            drawn = method(
                prior,
                likelihood.select(index),
                n,
                seed,
                guess=None if first is None else first[index],
                ids=[ids[i] for i in index],
                batch_size=batch_size(prior),
                callback=part_callback(callback, k, len(kinds)),
            )
            for i, x in zip(index, drawn if len(index) > 1 else drawn[None], strict=True):
                found[i] = x
    seconds, x = round(time.perf_counter() - start, 2), torch.stack(found)
    made = {"method": "; ".join(map(repr, kinds)), "samples": n, **meter.report()}
    return x.flatten(0, 1), made | {"seconds": seconds}


def _residual_report(likelihood: GaussianLikelihood[Any], x: Tensor) -> dict[str, list[float]]:
    """Return the chi2 of samples ``(B * n, *shape)`` of noisy data, and warn where it is off."""
    if likelihood.sigma == 0:
        return {}
    sigma, count = likelihood.sigma / 2, len(likelihood.y)
    each = torch.arange(count).repeat_interleave(len(x) // count)
    fit = likelihood.select(each).chi2(x).reshape(count, -1).mean(1).tolist()
    low = 0.5 if sigma > ROUNDING else 0.0  # at the level of rounding there may be no noise at all
    if off := [chi2 for chi2 in fit if not low <= chi2 <= 2]:
        warnings.warn(
            f"the residual is {off[0]:.2g} times what noise of sigma {sigma:.3g} leaves: try a "
            f"{'smaller' if off[0] < 1 else 'larger'} sigma, another method, or more steps",
            ResidualWarning,
            stacklevel=5,
        )
    return {"chi2": [round(chi2, 3) for chi2 in fit]}


def recover(
    given: Images,
    operator: Operator,
    levels: Sequence[float],
    model: Prior,
    method: Callable[[float], Method[Any]],
    report: dict[str, Any],
    *,
    samples: int,
    seed: int,
    ids: Sequence[int | str] | None,
    callback: Callback | None,
    measure: Callable[[Tensor], Tensor] = lambda x: x,
    guess: Callable[[Tensor], Tensor] = lambda x: x,
) -> Result:
    """Return what lies under images that were seen through an operator.

    Arguments:
        levels: The noise of each image in [0, 1].
        method: Makes the method for a noise level.
        measure, guess: Make of images ``(B, C, H, W)`` the y, and first guesses of the states.
    """
    x = measured_pixels(given, model)
    operator = operator.for_shape(image_shape(model)).to(model.like.device)
    methods, first = [method(level) for level in levels], cache(lambda: guess(x))
    x, made = draw(
        model,
        operator,
        measure(x),
        levels,
        methods,
        samples,
        seed,
        guess=lambda index: first()[index],
        ids=ids,
        callback=callback,
    )
    return make_result(given, x, None, samples, report | made)


def draw(
    model: Prior,
    operator: Operator,
    y: Tensor,
    levels: Sequence[float],
    methods: Sequence[Method[Any]],
    samples: int,
    seed: int,
    *,
    ids: Sequence[int | str] | None,
    callback: Callback | None,
    guess: Callable[[Tensor], Tensor] | None = None,
) -> Solved:
    """Return samples ``(B * n, *shape)``, and their report; images of equal noise are a batch.

    Arguments:
        levels: The noise of each image in [0, 1].
        guess: Makes the first guesses of the images of these numbers.
    """
    _check_decodable(model, methods)
    made, fit, ids = dict[str, Any](), [0.0] * len(levels), stream_ids(ids, len(levels))
    parts, kinds = [torch.empty(0)] * len(levels), dict.fromkeys(levels)
    for k, level in enumerate(kinds):
        index = torch.tensor([i for i in range(len(levels)) if levels[i] == level])
        likelihood = GaussianLikelihood(operator=operator, y=y, sigma=2 * level).select(index)
        x, more = solve(
            model,
            replace(likelihood, sigma=2 * max(level, model.latent * DECODED)),
            [methods[i] for i in index],
            samples,
            seed,
            guess=guess and partial(guess, index),
            ids=[ids[i] for i in index],
            callback=part_callback(callback, k, len(kinds)),
        )
        if level == 0:  # a chain ends at the schedule's last noise level, not at none
            each = torch.arange(len(index)).repeat_interleave(len(x) // len(index))
            x = likelihood.select(each).condition(x, 1.0)
        more |= _residual_report(likelihood, x)
        for j, i in enumerate(index):
            parts[i] = x.chunk(len(index))[j]
            fit[i] = more["chi2"][j] if "chi2" in more else 0.0
        made = merge_reports(made, more)
    return torch.cat(parts), made | ({"chi2": fit} if "chi2" in made else {})


def _check_decodable(model: Prior, methods: Sequence[Method[Any]]) -> None:
    """Refuse methods that need more of an operator than a decoder leaves of it."""
    for method in methods if model.latent else ():
        if (needed := method.needs[2]) is not Operator:
            raise SettingError(
                f"{type(method).__name__} needs a {needed.__name__}, and behind a decoder none is; "
                "methods for latent priors are psld, resample, daps and dps"
            )


def merge_reports(made: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the report of two solves: their counts added up, all their methods named."""
    if not made:
        return more
    counts = {k: round(made[k] + more[k], 2) for k in Meter().report() | {"seconds": 0.0}}
    fits = [fit for report in (made, more) for fit in report.get("chi2", [])]
    named = {"method": f"{made['method']}; {more['method']}"} | ({"chi2": fits} if fits else {})
    return made | counts | named
