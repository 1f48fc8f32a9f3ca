"""Images to codes, and back through the same prior or another."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count as counting
from typing import Any

import torch
from torch import Tensor

from diffprior.batching import Callback, StepCallback, part_callback, step_callback
from diffprior.catalog import SettingError, build
from diffprior.editing import trajectory
from diffprior.editing.chains import noise_level_of
from diffprior.editing.trajectory import Trajectory, spell
from diffprior.inversions.base import Inversion
from diffprior.io.arrays import Images, digest
from diffprior.priors._conditions import conditioned, innermost, unguided
from diffprior.priors.base import Prior
from diffprior.priors.paired import PairedPrior
from diffprior.priors.prompted import beside, prompted
from diffprior.random import Noise
from diffprior.runtime.checks import check_counts
from diffprior.runtime.memory import batch_size
from diffprior.runtime.results import Result

from ..random import stream_ids
from ..runtime.conditions import not_none

__all__ = [
    "InversionResult",
    "resolve_inversion",
    "condition_prior",
    "inversion_report",
    "source_condition",
    "invert_images",
    "Chain",
    "decode_trajectory",
]

Condition = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class InversionResult(Result):
    """What an inversion gives back: ``image`` is the round trip, ``trajectory`` what to keep."""

    trajectory: Trajectory

    def data(self) -> bytes:
        """Return the bytes of the trajectory's file."""
        return self.trajectory.data()


def resolve_inversion(
    inversion: Any, model: Prior, steps: int | None, strength: float | None
) -> Inversion:
    """Return an inversion from what was given for it."""
    check_counts(samples=1, steps=steps)
    given = isinstance(inversion, Inversion)
    method: Inversion = inversion if given else build(str(inversion), ("inversions",))
    changes: dict[str, Any] = {} if steps is None else {"steps": steps}
    if strength is not None:
        ratio = noise_level_of(strength)
        changes["stop"] = 1.0 if ratio is None else float(model.diffusion.schedule.time(ratio))
    method, leaf = replace(method, **changes), prompted(model)
    texts = method.guided or type(method).edit_prior is not Inversion.edit_prior
    if texts and leaf is not None and leaf.extra == leaf.shape[0]:
        raise SettingError(
            f"{type(method).__name__} is of a guidance between texts, and this network is guided "
            "by the image that it edits, too; take another inversion"
        )
    return method


def inversion_report(method: Inversion) -> dict[str, Any]:
    """Return what the reports of inversions, and of edits, say of how they were made."""
    return {"method": spell(method), "inversion": spell(method)}


def source_condition(method: Inversion, **condition: Any) -> Condition:
    """Return what is not None of the condition of a way up, and its guidance."""
    given = not_none(**condition)
    return given if method.guided else {"guidance": 1.0, **given}


def condition_prior(model: Prior, condition: Condition) -> Prior:
    """Return a prior under a condition, or refuse in one sentence."""
    try:
        return conditioned(model, **condition)
    except ValueError as error:
        raise SettingError(str(error)) from error


def invert_images(
    method: Inversion,
    source: Prior,
    condition: Condition,
    given: Images,
    report: dict[str, Any],
    seed: int,
    ids: Sequence[int | str] | None,
    callback: Callback | None,
) -> Trajectory:
    """Return the inversion of images, as many at a time as memory holds.

    Arguments:
        source: The prior under the condition of the images.
        report: Its provenance.
    """
    x = given.tensor().to(source.like)
    z = source.encode(x)
    noise = Noise(seed, stream_ids(ids, len(z)))
    parts = torch.split(torch.arange(len(z)), 1 if method.guided else batch_size(source))
    called = innermost(unguided(source)) if method.guided else source  # by parts of it, too
    with _report_calls(called, method.calls * len(parts), callback):
        codes = [
            method.encode(beside(source, x[i]), z[i], noise.rows(i.tolist()), half=True)
            for i in parts
        ]
    return Trajectory(
        inversion=method,
        code={k: torch.cat([code[k] for code in codes]) for k in codes[0]},
        prior=report["prior"],
        sha256=report["prior_sha256"],
        condition=condition,
        size=given.size,
        picture=digest(given),
        added={k: report[k] for k in trajectory.ADDED if k in report},
    )


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What goes down from some rows of a code: a prior, or two side by side.

    Arguments:
        target: The prior whose states are asked for.
        source: A prior to go down beside.
        inside: Called after each step; where the target's states are then its own, ``(B, 1, *)`` of
            bool. Elsewhere they are the source's.
    """

    target: Prior
    source: Prior | None = None
    inside: Callable[[], Tensor] | None = None


def decode_trajectory(
    made: Trajectory, like: Prior, chain: Callable[[Tensor], Chain], callback: Callback | None
) -> Tensor:
    """Return the states that come of a code, as many at a time as memory holds.

    Arguments:
        like: A prior of these states.
        chain: Is given the numbers of some rows.
    """
    method, done = made.inversion, []
    count = 1 if method.guided else batch_size(like)
    parts = torch.split(torch.arange(len(made.code["x_T"])), count)
    for k, part in enumerate(parts):
        code, way = {key: v[part].to(like.like) for key, v in made.code.items()}, chain(part)
        each = _step(part_callback(callback, k, len(parts)), method.steps, way.inside)
        if way.source is None:
            done.append(method.decode(way.target, code, each))
        else:
            both = {key: torch.cat([v, v]) for key, v in code.items()}
            pair = PairedPrior(way.source, way.target)
            done.append(method.decode(pair, both, each).chunk(2)[1])
    return torch.cat(done)


def _step(
    callback: Callback | None, steps: int, inside: Callable[[], Tensor] | None
) -> StepCallback:
    """Return what is done after each step."""
    tell = step_callback(callback, steps)
    if inside is None:
        return tell

    def each(x: Tensor, i: int) -> Tensor:
        kept, new = tell(x, i).chunk(2)
        return torch.cat([kept, torch.where(inside(), new, kept)])

    return each


@contextmanager
def _report_calls(prior: Prior, calls: int, callback: Callback | None) -> Iterator[None]:
    """Tell ``callback`` of every call of a prior, of which this many are expected."""
    if callback is None:
        yield
        return
    number = counting(1)
    hook = prior.register_forward_hook(
        lambda _, given, x_0: callback(x_0, min(1.0, next(number) / calls))
    )
    try:
        yield
    finally:
        hook.remove()
