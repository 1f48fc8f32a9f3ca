"""Images to codes, and codes back to images, through the same prior or another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count as counting
from typing import Any

import torch
from torch import Tensor

from ..bands import in_bands, is_large, rows_of
from ..batching import Callback, StepCallback, part_callback, step_callback
from ..catalog import build, spell
from ..errors import SettingError
from ..inversions.base import Inversion
from ..io.arrays import digest
from ..phases import within_step
from ..priors.base import Prior, show_image
from ..priors.paired import PairedPrior
from ..random import Noise
from ..runtime.memory import batch_size
from . import trajectory
from .chains import noise_level_of
from .page import Session
from .trajectory import LAST, Trajectory

__all__ = [
    "Condition",
    "Descent",
    "decode_trajectory",
    "inversion_condition",
    "inversion_report",
    "invert_images",
    "report_calls",
    "resolve_inversion",
]

Condition = dict[str, Any]  # what a prior is to show, by the words of reports


def resolve_inversion(
    inversion: Inversion | str, prior: Prior, steps: int | None, strength: float | None
) -> Inversion:
    """Return an inversion from an object or a text, with other steps or another strength."""
    method: Inversion
    if isinstance(inversion, Inversion):
        method = inversion
    else:
        method = build(str(inversion), ("inversions",))
    changes: dict[str, Any] = {} if steps is None else {"steps": steps}
    if strength is not None:
        ratio = noise_level_of(strength)
        changes["stop"] = 1.0 if ratio is None else float(prior.diffusion.schedule.time(ratio))
    method = replace(method, **changes)
    texts = method.guided or type(method).edit_prior is not Inversion.edit_prior
    if texts and prior.edits_image:
        raise SettingError(
            f"{type(method).__name__} is of a guidance between texts, and this network is guided "
            "by the image that it edits, too; take another inversion"
        )
    return method


def inversion_report(method: Inversion) -> dict[str, Any]:
    """Return the keys of a report that name an inversion."""
    return {"method": spell(method), "inversion": spell(method)}


def inversion_condition(method: Inversion, condition: Condition) -> Condition:
    """Return the condition that an inversion runs under: without guidance, unless it fits one."""
    return condition if method.guided else {"guidance": 1.0, **condition}


def invert_images(
    method: Inversion,
    source: Prior,
    condition: Condition,
    session: Session,
    callback: Callback | None,
) -> Trajectory:
    """Return the inversion of the images of a session, as many at a time as memory holds.

    Arguments:
        source: The prior under the condition of the images.
        condition: That condition.
    """
    images = session.images
    report = session.report
    assert images is not None
    x = images.tensor().to(source.like)
    z = source.encode(x)
    shown = x if source.sees_image else None  # a large image is not held beside its states
    del x
    noise = Noise(session.settings.seed, session.ids)
    parts = torch.split(torch.arange(len(z)), 1 if method.guided else batch_size(source))
    called = source.without_guidance().innermost if method.guided else source
    with report_calls(called, method.calls * len(parts), callback):
        codes = [
            method.encode(
                source if shown is None else show_image(source, shown[i]),
                rows_of(z, i),
                noise.rows(i.tolist()),
                half=True,
            )
            for i in parts
        ]
    return Trajectory(
        inversion=method,
        code={key: _joined([code[key] for code in codes]) for key in codes[0]},
        prior=report["prior"],
        sha256=report["prior_sha256"],
        condition=condition,
        size=images.size,
        picture=digest(images),
        added={key: report[key] for key in trajectory.ADDED if key in report},
    )


@dataclass(frozen=True, kw_only=True)
class Descent:
    """The prior that some rows of a code come down with, or two priors in step.

    Attributes:
        target: The prior whose states are the result.
        source: A prior that comes down in step with it.
        inside: Called after each step; returns where the target's states are then its own,
            ``(B, 1, *)`` of bool. Elsewhere they are the source's.
    """

    target: Prior
    source: Prior | None = None
    inside: Callable[[], Tensor] | None = None


def decode_trajectory(
    code: Trajectory, like: Prior, descent: Callable[[Tensor], Descent], callback: Callback | None
) -> Tensor:
    """Return the states that come down from a code, as many at a time as memory holds.

    Arguments:
        like: A prior of these states.
        descent: Makes the descent of the rows of these numbers.
    """
    method = code.inversion
    states = []
    count = 1 if method.guided else batch_size(like)
    parts = torch.split(torch.arange(len(code.code["x_T"])), count)
    for k, part in enumerate(parts):
        rows = {key: _rows(key, v, part, like) for key, v in code.code.items()}
        priors = descent(part)
        after_step = _step(part_callback(callback, k, len(parts)), method.steps, priors.inside)
        if priors.source is None:
            states.append(method.decode(priors.target, rows, after_step))
        else:
            both = {key: _twice(v) for key, v in rows.items()}
            pair = PairedPrior(priors.source, priors.target)
            states.append(method.decode(pair, both, after_step).chunk(2)[1])
    return torch.cat(states)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _rows(key: str, values: Tensor, part: Tensor, like: Prior) -> Tensor:
    """Return some rows of a tensor of a code. What steps added stays short until its step."""
    own = rows_of(values, part)
    return own.to(like.like) if key.endswith(LAST) else own.to(like.like.device)


def _twice(x: Tensor) -> Tensor:
    """Return rows, and once more the same."""
    return x.expand(2, *x.shape[1:]) if len(x) == 1 else torch.cat([x, x])


def _step(
    callback: Callback | None, steps: int, inside: Callable[[], Tensor] | None
) -> StepCallback:
    """Return the function to call after each step: the callback, then the mask if there is one."""
    report = step_callback(callback, steps)
    if inside is None:
        return report

    def mask_step(x: Tensor, i: int) -> Tensor:
        x = report(x, i)
        source, target = x.chunk(2)
        mixed = in_bands(_mixed, target, source, inside(), into=target)
        return x if is_large(x) else torch.cat([source, mixed])

    return mask_step


def _mixed(target: Tensor, source: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, target, source)


@contextmanager
def report_calls(prior: Prior, calls: int, callback: Callback | None) -> Iterator[None]:
    """Call ``callback`` after every call of a prior, of which this many are expected."""
    if callback is None:
        yield
        return
    report = step_callback(callback, calls)
    number = counting()
    last = calls - 1  # of more calls than that nobody knows
    hook = prior.register_forward_hook(lambda _, inputs, x_0: report(x_0, min(last, next(number))))
    try:
        with within_step():
            yield
    finally:
        hook.remove()
