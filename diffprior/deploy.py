"""A prior made ready: on its device, in its precision, in windows where a picture is large."""

from collections.abc import Sequence
from pathlib import Path

import torch

from .catalog import SettingError
from .pretrained import load_prior
from .priors.base import Prior
from .priors.half import HalfPrior
from .priors.tiled import TiledPrior

__all__ = ["device_of", "ready", "rows"]

WHOLE = 1536**2  # px; larger pictures are worked through in windows (about 2 GB of memory on a CPU)
TILE, OVERLAP = 1024, 64
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


def rows(prior: Prior) -> int:
    """Return how many states of a prior go through it at a time, for memory's sake."""
    room = (16 if prior.like.device.type == "cuda" else 2) * WHOLE
    return max(1, room // (prior.shape[-2] * prior.shape[-1]))
