"""Clean what is noisy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch

from diffprior.batching import Watch
from diffprior.io.arrays import pictures
from diffprior.methods.base import Method
from diffprior.operators.identity import Identity
from diffprior.priors.base import Prior
from diffprior.runtime.checks import demand
from diffprior.runtime.solve import Asked, Result, choose, noise, opened, recover, usual

__all__ = ["denoise"]

WORD = "denoised"
ONE = "dpir(start={}, steps=1)"  # one call of the prior: the posterior mean
SEVERAL = "mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))"


def denoise(
    image: Any,
    *,
    sigma: Annotated[float | str, "The noise, in [0, 1]; auto estimates it."] = "auto",
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    method: Annotated[Method[Any] | str | None, 'As in "diffpir(weight=2.0)".'] = None,
    steps: Annotated[int | None, "Steps of the method's chain."] = None,
    samples: Annotated[int, "How many different answers."] = 1,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large picture, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
    **asked: Unpack[Asked],
) -> Result:
    """Clean a picture, or each picture of a batch, of white noise.

    One picture is the posterior mean, in one call of the prior: the least mean squared error, and
    smooth. Several are samples of the posterior, each with its own texture.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            "auto" is the most likely one under the prior (``diffprior.runtime.noise_level``).
        names: What the pictures' noise streams depend on beside ``seed``; by default they share.
        watch: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights: ``diffprior.runtime.conditions.Asked``.

    Raises:
        ValueError: If picture or a setting is not usable; one sentence says why.
    """
    demand(samples=samples, steps=steps)
    given = pictures(image)
    model, report = opened("denoise", prior, (3, *given.size), tile, device, precision, **asked)
    levels = noise(sigma, given, model=model)
    report |= {"seed": seed, "sigma": levels}
    default = usual(model, samples, ONE, SEVERAL)
    pace = None if default == ONE and method is None else steps  # one call has no chain
    return recover(
        given,
        Identity(),
        levels,
        model,
        lambda level: choose(method, default.format(2 * level), pace),
        report,
        samples=samples,
        seed=seed,
        names=names,
        watch=watch,
    )
