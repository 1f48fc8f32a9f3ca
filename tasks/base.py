"""What all tasks share: the way in, a prior made ready, the way out."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import diffprior
from diffprior.catalog import SettingError, build
from diffprior.images import Pictures
from diffprior.likelihoods import Likelihood
from diffprior.methods.base import Method, share
from diffprior.pretrained import load_prior
from diffprior.priors.base import Prior, Wrapper
from diffprior.priors.half import HalfPrior
from diffprior.priors.tiled import TiledPrior
from diffprior.samplers.base import Watch

__all__ = [
    "FromFile",
    "Meter",
    "Result",
    "TaskError",
    "choose",
    "device_of",
    "provenance",
    "ready",
    "results",
    "solve",
]

WHOLE = 1536**2  # px; larger pictures are worked through in windows (about 2 GB of memory on a CPU)
TILE, OVERLAP = 1024, 64
PRECISIONS = {"full": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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


def device_of(name: str | torch.device | None) -> torch.device:
    """Return the device of a name: auto (or None), cpu, cuda, cuda:n or mps."""
    if name is None or name == "auto":
        best = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device("mps" if torch.backends.mps.is_available() else best)
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise SettingError(f"no device {name!r}; there are auto, cpu, cuda, cuda:n and mps")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    missing = device.type == "mps" and not torch.backends.mps.is_available()
    if missing or (device.index or 0) >= count:
        raise SettingError(
            f"this machine has no device {name!r}; --device auto takes what there is"
        )
    return device


def _precision(name: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of the network, None for full: by default half where the hardware has it."""
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return torch.bfloat16 if device.type == "cpu" and native() else None
    if name not in PRECISIONS:
        raise SettingError(f"no precision {name!r}; there are auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def ready(
    prior: Prior | str | Path | None,
    shape: Sequence[int],
    *,
    device: str | torch.device | None = None,
    precision: str = "auto",
    tile: int | None = None,
) -> Prior:
    """Return a prior of pictures ``(C, H, W)`` of this shape, on its device, in its precision.

    Arguments:
        prior: A prior, or what ``load_prior`` opens; one that is given stays on its own device.
        tile: Side of the windows, in pixels; by default pictures over 2.4 megapixels are cut.
    """
    if tile is not None and tile < OVERLAP * 2:
        raise SettingError(f"a tile is at least {OVERLAP * 2} pixels wide, got {tile}")
    if not isinstance(prior, Prior):
        prior = load_prior(prior, device_of(device))
    elif device is not None:
        prior = prior.to(device_of(device))
    if prior.latent or len(prior.shape) != 3:
        return prior.on(shape)
    side = tile or (TILE if shape[-2] * shape[-1] > WHOLE else max(*shape[-2:], OVERLAP + 1))
    tiled = TiledPrior(prior, side, OVERLAP, shape)
    half = _precision(precision, prior.like.device)
    return tiled if half is None else HalfPrior(tiled, half)


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
                rows=_rows(prior),
                watch=share(watch, k, len(kinds)),
            )
            x[index] = drawn.reshape(-1, n, *prior.shape)
    seconds = round(time.perf_counter() - start, 2)
    made = {"method": "; ".join(map(repr, kinds)), "samples": n, **meter.report()}
    return x.flatten(0, 1), made | {"seconds": seconds}


def _rows(prior: Prior) -> int:
    """Return how many states of a prior go through it at a time, for memory's sake."""
    room = (16 if prior.like.device.type == "cuda" else 2) * WHOLE
    return max(1, room // (prior.shape[-2] * prior.shape[-1]))


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
    cover: Tensor,
    samples: int,
    report: dict[str, Any],
    opaque: bool = False,
) -> Result:
    """Return samples ``(B * n, 3, H, W)``, clipped and laid over what was given, in its own kind.

    Arguments:
        cover: How much of x shows, ``(B, 1, H, W)`` in [0, 1].
        samples: How many are promised; a method that gives one answer has it repeated.
        opaque: Whether transparency was the hole, and is gone.
    """
    x, count = x.clamp(-1, 1), len(x) // len(given)
    alpha = None if opaque else given.alpha
    values = given.blend(x, cover).reshape(len(given), count, *given.values.shape[1:])
    shown = [given.give_back(values[:, j % count], alpha) for j in range(samples)]
    mean, std = shown[0], None
    if samples > 1:
        states = x.reshape(len(given), count, *x.shape[1:])
        mean = given.give_back(given.blend(states.mean(1), cover), alpha)
        spread = states.std(1, correction=1 if count > 1 else 0) / 2
        std = _shaped(spread * cover.to(x), shown[0])
    return Result(image=shown[0], samples=shown, mean=mean, std=std, report=report, cover=cover)


def _shaped(std: Tensor, like: Any) -> Any:
    """Return deviations ``(B, 3, H, W)`` as a float array or tensor with the axes of a picture."""
    if isinstance(like, Tensor):
        std = std if like.shape[-3] != 1 else std.mean(1, keepdim=True)
        return (std if like.ndim == 4 else std[0]).to(like.device)
    grey = std[0].mean(0).cpu().numpy()
    is_array = isinstance(like, np.ndarray) and like.ndim == 3
    return std[0].movedim(0, -1).cpu().numpy() if is_array and like.shape[2] > 2 else grey
