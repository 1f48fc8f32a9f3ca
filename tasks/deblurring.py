"""Sharpen what is blurred by a known kernel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from diffprior.blurs import kernel as read
from diffprior.catalog import SettingError
from diffprior.deploy import ready
from diffprior.images import pictures
from diffprior.methods.base import Method
from diffprior.metrics import noise_level
from diffprior.operators.base import LinearOperator
from diffprior.operators.blur import Blur
from diffprior.operators.circular_blur import CircularBlur
from diffprior.priors.base import Prior
from diffprior.samplers.base import Watch

from .base import Result, choose, demand, provenance, recover

__all__ = ["deblur"]

WORD = "deblurred"
ONE = "dpir(start=0.4, steps=24)"
SEVERAL = "mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))"
LEAST = 1 / 255  # [0, 1]; a blur is not undone without noise in mind: rounding alone is 0.3 / 255


def deblur(
    image: Any,
    kernel: Annotated[Tensor | str, "gaussian:3, motion:15,45, uniform:9, or a picture of it."],
    *,
    boundary: Annotated[str, "Beyond the border: reflect, circular or zero."] = "reflect",
    sigma: Annotated[float | None, "The noise, in [0, 1]; estimated where not given."] = None,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    method: Annotated[Method[Any] | str | None, 'As in "diffpir(lam=1)".'] = None,
    steps: Annotated[int | None, "Steps of the method's chain."] = None,
    samples: Annotated[int, "How many different answers."] = 1,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large picture, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
) -> Result:
    """Undo a known blur of a picture, or of each picture of a batch.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        kernel: A tensor ``(h, w)`` or ``(B, h, w)``, or what ``diffprior.blurs.kernel`` reads.
        boundary: What lay beyond the border when the picture was blurred.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            estimated from the picture where not given, 1/255 at the least.
        names: What the pictures' noise streams depend on beside ``seed``; by default they share.
        watch: Called with the states and the share of the work that is done.

    Raises:
        ValueError: If picture, kernel or a setting is not usable; one sentence says why.
    """
    demand(samples=samples, steps=steps, sigma=sigma or 0.0)
    given = pictures(image)
    found = noise_level(given.tensor()).clamp_min(LEAST).tolist()
    levels = found if sigma is None else [sigma] * len(given)
    model = ready(prior, (3, *given.size), device=device, precision=precision, tile=tile)
    report = provenance(model, task="deblur", seed=seed, sigma=levels)
    return recover(
        given,
        _blur(kernel, boundary),
        levels,
        model,
        lambda level: choose(method or (ONE if samples == 1 else SEVERAL), steps),
        report,
        samples=samples,
        seed=seed,
        names=names,
        watch=watch,
    )


def _blur(kernel: Tensor | str, boundary: str) -> LinearOperator:
    try:
        k = read(kernel)
        return CircularBlur(k) if boundary == "circular" else Blur(k, boundary)
    except ValueError as error:
        raise SettingError(str(error)) from error
