"""What all tasks share: the way in, a prior made ready, the way out."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import diffprior
from diffprior.catalog import SettingError, build
from diffprior.deploy import rows
from diffprior.images import Pictures
from diffprior.likelihoods import GaussianLikelihood, Likelihood
from diffprior.methods.base import Method, share
from diffprior.operators.base import Operator
from diffprior.priors.base import Prior, Wrapper
from diffprior.samplers.base import Watch

__all__ = [
    "FromFile",
    "Meter",
    "Result",
    "TaskError",
    "choose",
    "coloured",
    "provenance",
    "recover",
    "results",
    "solve",
]


class TaskError(ValueError):
    """A task that cannot be done as asked, in one sentence."""


@dataclass(frozen=True)
class FromFile:
    """Marks a parameter that is a picture, and a path at the command line."""

    help: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a task gives back, pictures being of the kind that came in.

    Attributes:
        image: The picture; of several samples the first.
        samples: All samples, each like ``image``.
        mean: Their mean.
        std: Their standard deviation in [0, 1] units, a float array or tensor with the axes of
            ``image``; None of a single sample.
        report: How it was made: version, prior, weights, method, seed, sigma, calls, seconds.
        cover: How much of each pixel is new, ``(B, 1, H, W)`` in [0, 1].
    """

    image: Any
    samples: list[Any]
    mean: Any
    std: Any
    report: dict[str, Any]
    cover: Tensor


@dataclass
class Meter:
    """Counts the calls of a prior and their seconds."""

    calls: int = 0
    seconds: float = 0.0
    _start: float = field(default=0.0, repr=False)

    @contextmanager
    def on(self, prior: Prior) -> Iterator[None]:
        """Watch a prior for a while."""
        hooks = (
            prior.register_forward_pre_hook(self._before),
            prior.register_forward_hook(self._after),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def report(self) -> dict[str, Any]:
        """Return what was counted, for a result's report."""
        return {"network_calls": self.calls, "network_seconds": round(self.seconds, 2)}

    def _before(self, *_: Any) -> None:
        self._start = time.perf_counter()

    def _after(self, *_: Any) -> None:
        self.calls += 1
        self.seconds += time.perf_counter() - self._start


def demand(*, samples: int, steps: int | None, sigma: float = 0.0) -> None:
    """Refuse settings that no task can work with."""
    if samples < 1:
        raise SettingError(f"samples are 1 or more, got {samples}")
    if steps is not None and steps < 1:
        raise SettingError(f"steps are 1 or more, got {steps}")
    if not 0 <= sigma <= 1:
        raise SettingError(f"sigma lies in [0, 1], the range of a picture, got {sigma}")


def choose(method: Method[Any] | str, steps: int | None) -> Method[Any]:
    """Return a method from what was given for it, at this number of steps."""
    chosen = method if isinstance(method, Method) else build(method, ("methods",))
    return chosen if steps is None else chosen.paced(steps)


def solve(
    prior: Prior,
    likelihood: Likelihood[Any],
    methods: Sequence[Method[Any]],
    samples: int,
    seed: int,
    *,
    guess: Callable[[], Tensor] | None = None,
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """Return samples ``(B * n, *shape)``, pictures first, and the report of how they were made.

    Arguments:
        methods: One for each picture; pictures of the same one run as one batch. Those that give
            one answer whatever the seed are asked for one, n = 1.
        guess: First guesses ``(B, *shape)``, made only where a method starts from one.
    """
    start, meter, count = time.perf_counter(), Meter(), len(methods)
    n = samples if methods[0].draws else 1
    first = guess() if guess and any(m.start is not None for m in methods) else None
    names = [0] * count if names is None else names
    x = prior.like.new_empty(count, n, *prior.shape)
    with meter.on(prior):
        for k, method in enumerate(kinds := dict.fromkeys(methods)):
            index = torch.tensor([i for i in range(count) if methods[i] == method])
            drawn = method(
                prior,
                likelihood.take(index),
                n,
                seed,
                guess=None if first is None else first[index],
                names=[names[i] for i in index],
                rows=rows(prior),
                watch=share(watch, k, len(kinds)),
            )
            x[index] = drawn.reshape(-1, n, *prior.shape)
    seconds = round(time.perf_counter() - start, 2)
    made = {"method": "; ".join(map(repr, kinds)), "samples": n, **meter.report()}
    return x.flatten(0, 1), made | {"seconds": seconds}


def coloured(given: Pictures) -> Pictures:
    """Return the pictures with three channels each, to come back as colours."""
    repeats = 3 // given.values.shape[-1]
    return replace(given, values=np.repeat(given.values, repeats, axis=-1))


def recover(
    given: Pictures,
    operator: Operator,
    sigma: Sequence[float],
    model: Prior,
    method: Callable[[float], Method[Any]],
    report: dict[str, Any],
    *,
    samples: int,
    seed: int,
    names: Sequence[int | str] | None,
    watch: Watch | None,
    measure: Callable[[Tensor], Tensor] = lambda x: x,
    guess: Callable[[Tensor], Tensor] = lambda x: x,
) -> Result:
    """Return what lies under pictures seen through an operator, those of equal noise as a batch.

    Arguments:
        sigma: The noise of each picture in [0, 1].
        method: Makes the method for a noise level.
        measure, guess: Make of pictures ``(B, 3, H, W)`` the y, and first guesses of the states.
    """
    pixels, made = given.tensor().to(model.like), dict[str, Any]()
    operator = operator.to(model.like.device).on(model.shape)
    x, levels = [torch.empty(0)] * len(given), dict.fromkeys(sigma)
    for k, level in enumerate(levels):
        index = [i for i in range(len(given)) if sigma[i] == level]
        everyone = GaussianLikelihood(operator=operator, y=measure(pixels), sigma=2 * level)
        likelihood = everyone.take(torch.tensor(index))
        drawn, made = solve(
            model,
            likelihood,
            [method(level)] * len(index),
            samples,
            seed,
            guess=partial(_some, guess, pixels, index),
            names=None if names is None else [names[i] for i in index],
            watch=share(watch, k, len(levels)),
        )
        if level == 0:  # a chain ends at the schedule's last noise level, not at none
            each = torch.arange(len(index)).repeat_interleave(len(drawn) // len(index))
            drawn = likelihood.take(each).condition(drawn, 1.0)
        for i, part in zip(index, drawn.reshape(len(index), -1, *model.shape), strict=True):
            x[i] = part
    return results(given, torch.cat(x), None, samples, report | made)


def _some(make: Callable[[Tensor], Tensor], x: Tensor, index: list[int]) -> Tensor:
    return make(x)[index]


def provenance(prior: Prior, **more: Any) -> dict[str, Any]:
    """Return the report of what made a picture."""
    inner = prior
    while isinstance(inner, Wrapper):
        inner = inner.inner
    return {
        "diffprior": diffprior.__version__,
        "prior": getattr(inner, "name", type(inner).__name__),
        "prior_sha256": getattr(inner, "sha256", None),
        "sigma_unit": "the range [0, 1]; in [-1, 1] it is twice as much",
        "device": str(prior.like.device),
        "precision": str(getattr(prior, "precision", torch.float32)).removeprefix("torch."),
        **more,
    }


def results(
    given: Pictures,
    x: Tensor,
    cover: Tensor | None,
    samples: int,
    report: dict[str, Any],
    opaque: bool = False,
) -> Result:
    """Return samples ``(B * n, 3, H, W)``, clipped and laid over what was given, in its own kind.

    Arguments:
        cover: How much of x shows, ``(B, 1, H, W)`` in [0, 1]; None is all of it, and then x may
            be of another size than what was given.
        samples: How many are promised; a method that gives one answer has it repeated.
        opaque: Whether transparency was the hole, and is gone.
    """
    x, count = x.clamp(-1, 1), len(x) // len(given)
    alpha = None if opaque else given.opacity(x.shape[-2:])
    values = given.blend(x, cover)
    values = values.reshape(len(given), count, *values.shape[1:])
    shown = [given.give_back(values[:, j % count], alpha) for j in range(samples)]
    mean, std = shown[0], None
    if samples > 1:
        states = x.reshape(len(given), count, *x.shape[1:])
        mean = given.give_back(given.blend(states.mean(1), cover), alpha)
        spread = states.std(1, correction=1 if count > 1 else 0) / 2
        std = _shaped(spread if cover is None else spread * cover.to(x), shown[0])
    cover = torch.ones(len(given), 1, *x.shape[-2:]) if cover is None else cover
    return Result(image=shown[0], samples=shown, mean=mean, std=std, report=report, cover=cover)


def _shaped(std: Tensor, like: Any) -> Any:
    """Return deviations ``(B, 3, H, W)`` as a float array or tensor with the axes of a picture."""
    if isinstance(like, Tensor):
        std = std if like.shape[-3] != 1 else std.mean(1, keepdim=True)
        return (std if like.ndim == 4 else std[0]).to(like.device)
    grey = std[0].mean(0).cpu().numpy()
    is_array = isinstance(like, np.ndarray) and like.ndim == 3
    return std[0].movedim(0, -1).cpu().numpy() if is_array and like.shape[2] > 2 else grey
