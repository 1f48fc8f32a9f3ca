"""What all tasks share: the way in, a prior made ready, the way out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import diffprior
from diffprior.catalog import build
from diffprior.likelihoods import Likelihood
from diffprior.methods.base import Method
from diffprior.pretrained import load_prior
from diffprior.priors.base import Prior
from diffprior.priors.half import HalfPrior
from diffprior.priors.tiled import TiledPrior
from diffprior.samplers.base import Watch

__all__ = ["FromFile", "Meter", "Result", "TaskError", "device_of", "ready", "solve"]

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
        std: Their standard deviation in [0, 1] units, a float array or tensor shaped like ``image``;
            None of a single sample.
        report: How it was made: version, prior, weights, method, seed, sigma, calls, seconds.
    """

    image: Any
    samples: list[Any]
    mean: Any
    std: Any
    report: dict[str, Any]


@dataclass
class Meter:
    """Counts the calls of a prior and their seconds."""

    calls: int = 0
    seconds: float = 0.0
    _start: float = field(default=0.0, repr=False)

    def attach(self, prior: Prior) -> None:
        prior.register_forward_pre_hook(self._before)
        prior.register_forward_hook(self._after)

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
        raise TaskError(f"no device {name!r}; there are auto, cpu, cuda, cuda:n and mps")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    missing = device.type == "mps" and not torch.backends.mps.is_available()
    if missing or (device.index or 0) >= count:
        raise TaskError(f"this machine has no device {name!r}; --device auto takes what there is")
    return device


def _precision(name: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of the network, None for full: by default half where the hardware has it."""
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return torch.bfloat16 if device.type == "cpu" and native() else None
    if name not in PRECISIONS:
        raise TaskError(f"no precision {name!r}; there are auto, {', '.join(PRECISIONS)}")
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
        raise TaskError(f"a tile is at least {OVERLAP * 2} pixels wide, got {tile}")
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


def choose(method: Method[Any] | str | None, default: str, steps: int | None) -> Method[Any]:
    """Return a method from what was given for it, at this number of steps."""
    chosen = build(method or default, ("methods",)) if not isinstance(method, Method) else method
    return chosen if steps is None else chosen.paced(steps)


def solve(
    prior: Prior,
    likelihood: Likelihood[Any],
    method: Method[Any],
    samples: int,
    seed: int,
    *,
    guess: Callable[[], Tensor] | None = None,
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """Return samples ``(B * n, *shape)``, pictures first, and the report of how they were made."""
    start, meter = time.perf_counter(), Meter()
    meter.attach(prior)
    pixels, cuda = prior.shape[-2] * prior.shape[-1], prior.like.device.type == "cuda"
    rows = max(1, (16 if cuda else 2) * WHOLE // pixels)
    first = guess() if guess is not None and method.start is not None else None
    x = method(
        prior, likelihood, samples, seed, guess=first, names=names, rows=rows, watch=watch
    ).reshape(-1, *prior.shape)
    report = {
        "method": repr(method),
        "steps_taken": meter.calls,
        "network_seconds": round(meter.seconds, 2),
        "seconds": round(time.perf_counter() - start, 2),
    }
    return x, report


def provenance(prior: Prior, **more: Any) -> dict[str, Any]:
    """Return the report of what made a picture."""
    inner = prior
    while hasattr(inner, "inner"):
        inner = inner.inner
    return {
        "diffprior": diffprior.__version__,
        "prior": getattr(inner, "name", type(inner).__name__),
        "prior_sha256": getattr(inner, "sha256", None),
        "device": str(prior.like.device),
        "precision": str(getattr(prior, "precision", torch.float32)).removeprefix("torch."),
        **more,
    }
