"""A prior made ready: on its device, in its precision, in windows where an image is large."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..catalog import SettingError
from ..io.arrays import ImageError, as_images
from ..pretrained.load import load_prior
from ..priors._conditions import conditioned
from ..priors.base import Prior
from ..priors.half import HalfPrior
from ..priors.latent import LatentPrior
from ..priors.prompted import controlled, prompted
from ..priors.tiled import TiledPrior
from .memory import WHOLE, image_shape

__all__ = ["device_of", "prior_cache", "place_prior", "prepare_prior"]

TILE, OVERLAP = 1024, 64
_cache: ContextVar[dict[str, Prior] | None] = ContextVar("kept", default=None)
PRECISIONS = {"full": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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


@contextmanager
def prior_cache() -> Iterator[None]:
    """Open a prior once for a while, however many images it is asked for."""
    token = _cache.set({})
    try:
        yield
    finally:
        _cache.reset(token)


def prepare_prior(
    prior: Prior | str | Path | None,
    shape: Sequence[int | None],
    *,
    device: str | torch.device | None = None,
    precision: str = "auto",
    tile: int | None = None,
    prompt: str | None = None,
    negative: str | None = None,
    label: int | None = None,
    guidance: float | None = None,
    control: Any = None,
    **settings: Any,
) -> Prior:
    """Return a prior of images ``(C, H, W)`` of this shape, on its device, in its precision.

    Arguments:
        prior: A prior, or what ``load_prior`` opens; one that is given stays on its own device.
        shape: Where it has None, that of the control image, or of the prior's own images.
        tile: Side of the windows, in pixels; by default images over 2.4 megapixels are cut.
        prompt, negative, label, guidance: As of ``diffprior.priors._conditions.conditioned``.
        control: The image that its ControlNet follows.
        settings: What ``load_prior`` is told beside; None is nothing.
    """
    if tile is not None and tile < OVERLAP * 2:
        raise SettingError(f"a tile is at least {OVERLAP * 2} pixels wide, got {tile}")
    prior = place_prior(
        prior, device, precision, {k: v for k, v in settings.items() if v is not None}
    )
    follow = None if control is None else as_images(control).tensor()
    try:
        prior = conditioned(prior, prompt=prompt, negative=negative, label=label, guidance=guidance)
        prior = _windowed(prior, _filled(shape, prior, follow), tile, precision)
        return prior if follow is None else controlled(prior, follow)
    except ImageError:
        raise
    except ValueError as error:
        raise SettingError(str(error)) from error


def _filled(shape: Sequence[int | None], prior: Prior, control: Tensor | None) -> list[int]:
    """Return a shape with nothing left open."""
    own = image_shape(prior) if control is None else tuple(control.shape[1:])
    return [own[i] if n is None else n for i, n in enumerate(shape)]


def _windowed(prior: Prior, shape: Sequence[int], tile: int | None, precision: str) -> Prior:
    """Return a prior of this shape, in windows, its network in half precision where it can be."""
    if not isinstance(prior, LatentPrior) and len(prior.shape) != 3:
        return prior.for_shape(shape)
    side = tile or (TILE if shape[-2] * shape[-1] > WHOLE else max(*shape[-2:], OVERLAP + 1))
    half = _precision(precision, prior.like.device)
    if not isinstance(prior, LatentPrior):
        own = (prior.shape[0], *shape[-2:])  # of a gray prior one channel, whatever the image's
        return _in_half_precision(TiledPrior(prior, side, OVERLAP, own), half)
    if prompted(prior) is not None and (precision == "auto" or prior.precision == half):
        half = None  # it was opened in the precision that it is to have
    cells, overlap = prior.cells(side), OVERLAP // prior.factor
    return prior.with_inner(
        _in_half_precision(TiledPrior(prior.inner, cells, overlap), half)
    ).for_shape(shape)


def place_prior(
    prior: Prior | str | Path | None,
    device: str | torch.device | None,
    precision: str,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Prior:
    """Return a prior on its device, opened where it is not, its weights in half if they can be."""
    if not isinstance(prior, Prior):
        place, known = device_of(device), _cache.get()
        known = {} if known is None else known
        asked = repr((prior, place, precision, settings))
        if asked not in known:
            known[asked] = load_prior(prior, place, dtype=_precision(precision, place), **settings)
        return known[asked]
    if settings:
        raise SettingError(f"{', '.join(settings)}: for a prior that is opened here, by its name")
    return prior if device is None else prior.to(device_of(device))


def _in_half_precision(prior: Prior, half: torch.dtype | None) -> Prior:
    return prior if half is None else HalfPrior(prior, half)
