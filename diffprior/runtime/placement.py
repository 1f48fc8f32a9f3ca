"""Priors on their device, in their number format, in windows where an image is large."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..errors import ImageError, SettingError
from ..io.arrays import as_images
from ..phases import phase
from ..pretrained.load import load_prior
from ..priors.base import Prior
from ..priors.half import HalfPrior
from ..priors.latent import LatentPrior
from ..priors.tiled import TiledPrior
from ..validation import renamed, shown
from .memory import WHOLE, image_shape
from .parameters import RENAMED
from .settings import Settings, with_condition

__all__ = ["device_of", "dtype_of", "fit_prior", "place_prior", "prepare_prior", "prior_cache"]

TILE, OVERLAP = 1024, 64  # pixels
DEVICES = ("cpu", "cuda", "mps", "xpu")
DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
OLD_DTYPES = {"full": "float32", "bf16": "bfloat16", "fp16": "float16"}

_open_priors: ContextVar[dict[str, Prior] | None] = ContextVar("open_priors", default=None)


def device_of(name: str | torch.device | None) -> torch.device:
    """Return the device of a name: auto (or None), cpu, cuda, cuda:n, mps or xpu.

    Raises:
        SettingError: If there is no such device.
    """
    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    if name is None or name == "auto":
        known = accelerator is not None and accelerator.type in DEVICES
        return accelerator if accelerator is not None and known else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in DEVICES:
        raise SettingError(f"no device {name!r}; there are auto, cpu, cuda, cuda:n, mps and xpu")
    if device.type == "cpu":
        return device
    here = accelerator is not None and accelerator.type == device.type
    if not here or (device.index or 0) >= torch.accelerator.device_count():
        raise SettingError(
            f"this machine has no device {name!r}; --device auto takes what there is"
        )
    return device


def dtype_of(name: str | torch.dtype, device: torch.device) -> torch.dtype | None:
    """Return the number format of a network, None for float32.

    Arguments:
        name: auto, float32, bfloat16 or float16, or a torch dtype. "auto" is half precision where
            the device computes in it.
    """
    word = str(name).removeprefix("torch.")
    if word == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return torch.bfloat16 if device.type == "cpu" and native() else None
    word = OLD_DTYPES.get(word, word)
    if word not in DTYPES:
        raise SettingError(f"no dtype {word!r}; there are auto, {', '.join(DTYPES)}")
    return DTYPES[word]


@contextmanager
def prior_cache(priors: dict[str, Prior] | None = None) -> Iterator[None]:
    """Load each prior once while this context is open, however many calls use it.

    The command line opens it around a batch of files. Priors that were loaded in it are let go when
    it closes.

    Arguments:
        priors: The priors of an earlier context, which are kept for a later one.
    """
    token = _open_priors.set({} if priors is None else priors)
    try:
        yield
    finally:
        _open_priors.reset(token)


def place_prior(
    prior: Prior | str | Path | None,
    device: str | torch.device | None,
    dtype: str | torch.dtype,
    loading: Mapping[str, Any] = MappingProxyType({}),
    backend: str | None = None,
) -> Prior:
    """Return a prior on its device, loaded where it is a name.

    Arguments:
        loading: Keywords of ``load_prior``, such as ``lora``; for a prior that is loaded here.
        backend: What computes its network; None is torch, or what a prior that is given has.
    """
    if isinstance(prior, Prior):
        if loading:
            raise SettingError(
                f"{', '.join(loading)}: for a prior that is opened here, by its name"
            )
        prior = prior if device is None else prior.to(device_of(device))
        return prior if backend is None else prior.with_backend(backend)
    place = device_of(device)
    cache = _open_priors.get()
    cache = {} if cache is None else cache
    key = repr((prior, place, dtype, loading, backend))
    if key not in cache:
        phase("opening the prior")
        opened = load_prior(prior, place, dtype=dtype_of(dtype, place), **loading)
        cache[key] = opened if backend is None else opened.with_backend(backend)
    return cache[key]


@renamed(**RENAMED)
def prepare_prior(
    prior: Prior | str | Path | None,
    shape: Sequence[int | None],
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    tile_size: int | str | None = "auto",
    **settings: Any,
) -> Prior:
    """Return a prior of images ``(C, H, W)`` of this shape, on its device, in its number format.

    Arguments:
        prior: A prior, which stays on its own device by default, or what ``load_prior`` opens.
        shape: Shape of the images. None is the size of the control image, or of the prior's own
            images.
        device: As ``device_of`` takes it.
        dtype: As ``dtype_of`` takes it.
        tile_size: Side of the windows, in pixels, or "auto": images over 2.4 megapixels are cut.
        settings: Fields of ``runtime.settings.Settings``: the condition, LoRA, ControlNet, backend.
    """
    call = Settings(prior=prior, device=device, dtype=dtype, tile_size=tile_size, **settings)
    return fit_prior(place_prior(prior, device, dtype, call.loading, call.backend), shape, call)


def fit_prior(
    prior: Prior,
    shape: Sequence[int | None],
    settings: Settings,
    *,
    condition: bool = True,
    widen: Callable[[Tensor], Tensor] | None = None,
) -> Prior:
    """Return a prior on its device under its condition, for images of this shape, in windows.

    Arguments:
        shape: As of ``prepare_prior``.
        settings: Their condition, control image, window size and dtype are used.
        condition: Whether the prior is to be under the condition.
        widen: Makes a control image one of this shape, where it is that of a part.
    """
    tile = _side(settings.tile_size)
    image = settings.control_image
    control = None if image is None else as_images(image).tensor()
    if control is not None and widen is not None:
        control = widen(control)
    if condition:
        prior = with_condition(prior, settings.condition)
    try:
        prior = _in_windows(prior, _full_shape(shape, prior, control), tile, settings.dtype)
        return prior if control is None else prior.with_control(control)
    except ImageError:
        raise
    except ValueError as error:
        raise SettingError(str(error)) from error


def _side(tile: int | str | None) -> int | None:
    """Return the side of windows that a call asks for; None for the rule.

    The rule looks at the size of the image alone. Results depend on the windows, and are to be the
    same on a machine with more memory.
    """
    if tile is None or tile == "auto":
        return None
    try:
        side = int(tile)
    except (ValueError, TypeError, OverflowError):
        side = 0
    if side < OVERLAP * 2:
        raise SettingError(
            f"a tile is auto or a whole number of pixels from {OVERLAP * 2} on, got {shown(tile)}"
        )
    return side


def _full_shape(shape: Sequence[int | None], prior: Prior, control: Tensor | None) -> list[int]:
    """Return a shape with its open sizes filled in."""
    own = image_shape(prior) if control is None else tuple(control.shape[1:])
    return [own[i] if n is None else n for i, n in enumerate(shape)]


def _in_windows(
    prior: Prior, shape: Sequence[int], tile: int | None, dtype: str | torch.dtype
) -> Prior:
    """Return a prior of this shape, in windows, its network in half precision where it can be."""
    if not isinstance(prior, LatentPrior) and len(prior.shape) != 3:
        return prior.for_shape(shape)
    side = tile or (TILE if shape[-2] * shape[-1] > WHOLE else max(*shape[-2:], OVERLAP + 1))
    half = dtype_of(dtype, prior.like.device)
    if not isinstance(prior, LatentPrior):
        own = (prior.shape[0], *shape[-2:])  # of a gray prior one channel, whatever the image's
        return _in_half_precision(TiledPrior(prior, side, OVERLAP, own), half)
    if prior.reads_text and (dtype == "auto" or prior.dtype == half):
        half = None  # it was loaded in the number format that it is to have
    tiled = TiledPrior(prior.inner, prior.latents(side), OVERLAP // prior.stride)
    inner = _in_half_precision(tiled, half)
    return prior.with_inner(inner).for_shape(shape)


def _in_half_precision(prior: Prior, half: torch.dtype | None) -> Prior:
    return prior if half is None else HalfPrior(prior, half)
