"""Make small images large."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
import torch.nn.functional as F

from diffprior.batching import Callback
from diffprior.catalog import SettingError
from diffprior.io.arrays import as_images
from diffprior.methods.base import Method
from diffprior.operators.average import Average
from diffprior.operators.bicubic import Bicubic
from diffprior.priors.base import Prior
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import PriorSettings, open_prior
from diffprior.runtime.defaults import choose_method, default_method
from diffprior.runtime.results import Result
from diffprior.runtime.solve import noise_levels, recover

__all__ = ["super_resolve"]

WORD, COMMAND = "upscaled", "upscale"
ONE = "dpir(start=0.4, steps=30)"
SEVERAL = "mmps(start=1.0, iterations=2, sampler=dpm(steps=12, grid='logsnr'))"
KERNELS = {"bicubic": Bicubic, "average": Average}


def super_resolve(
    image: Any,
    scale: Annotated[int, "How many times as large, from 2 on."] = 4,
    *,
    kernel: Annotated[str, "How it was made small: bicubic or average."] = "bicubic",
    sigma: Annotated[float | str, "Noise of the small image, in [0, 1]; auto estimates it."] = 0.0,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    method: Annotated[Method[Any] | str | None, 'As in "ddrm(eta=0.85)".'] = None,
    steps: Annotated[int | None, "Steps of the method's chain."] = None,
    samples: Annotated[int, "How many different answers."] = 1,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **asked: Unpack[PriorSettings],
) -> Result:
    """Enlarge an image, or each image of a batch.

    What comes out, made small again by ``diffprior.operators.bicubic`` or ``average``, is what came
    in, up to its noise and the rounding to pixels.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        scale: Width and height become this many times as large.
        kernel: What is undone: "bicubic", antialiased, as of MATLAB (Pillow's treats the border
            otherwise), or "average" of blocks.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            "auto" is the most likely one under the prior (``diffprior.runtime.noise_level``).
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    if not isinstance(scale, int) or scale < 2:
        raise SettingError(f"a scale is a whole number from 2 on, got {scale}")
    if kernel not in KERNELS:
        raise SettingError(f"no kernel {kernel!r}; there are {', '.join(KERNELS)}")
    given = as_images(image)
    shape = (3, *(scale * n for n in given.size))
    model, report = open_prior("super_resolve", prior, shape, tile, device, precision, **asked)
    levels = noise_levels(sigma, given, model=model)
    report |= {"scale": scale, "kernel": kernel, "seed": seed, "sigma": levels}
    return recover(
        given,
        KERNELS[kernel](scale),
        levels,
        model,
        lambda level: choose_method(method, default_method(model, samples, ONE, SEVERAL), steps),
        report,
        samples=samples,
        seed=seed,
        ids=ids,
        callback=callback,
        guess=partial(F.interpolate, size=shape[1:], mode="bicubic"),
    )
