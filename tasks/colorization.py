"""Give grey pictures their colours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch

from diffprior.deploy import ready
from diffprior.images import pictures
from diffprior.methods.base import Method
from diffprior.operators.grey import Grey
from diffprior.priors.base import Prior
from diffprior.samplers.base import Watch

from .base import Result, choose, coloured, demand, noise, provenance, recover

__all__ = ["colorize"]

WORD = "colorized"
ONE = "dpir(start=0.5, steps=20)"
SEVERAL = "mmps(start=3.0, iterations=1, sampler=dpm(steps=10, grid='logsnr'))"


def colorize(
    image: Any,
    *,
    sigma: Annotated[float | str, "Noise of the grey picture, in [0, 1]."] = 0.0,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    method: Annotated[Method[Any] | str | None, 'As in "ddrm(eta=0.85)".'] = None,
    steps: Annotated[int | None, "Steps of the method's chain."] = None,
    samples: Annotated[int, "How many different answers."] = 1,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large picture, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
) -> Result:
    """Colour a grey picture, or each picture of a batch; what has colours loses them first.

    The luma of what comes out is what came in, up to its noise and the rounding to pixels. One
    answer is cautious, its colours pale; several differ in their colours. A prior of small textures
    knows little of what has which colour.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]).
        names: What the pictures' noise streams depend on beside ``seed``; by default they share.
        watch: Called with the states and the share of the work that is done.

    Raises:
        ValueError: If picture or a setting is not usable; one sentence says why.
    """
    demand(samples=samples, steps=steps)
    given = coloured(pictures(image))
    levels = noise(sigma, given)
    grey = Grey("luminance")
    model = ready(prior, (3, *given.size), device=device, precision=precision, tile=tile)
    report = provenance(model, task="colorize", seed=seed, sigma=levels)
    return recover(
        given,
        grey,
        levels,
        model,
        lambda level: choose(method or (ONE if samples == 1 else SEVERAL), steps),
        report,
        samples=samples,
        seed=seed,
        names=names,
        watch=watch,
        measure=grey,
        guess=lambda x: grey(x).expand(-1, 3, -1, -1),
    )
