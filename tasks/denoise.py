"""Clean what is noisy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch

from diffprior.batching import Callback
from diffprior.io.arrays import as_images
from diffprior.methods.base import Method
from diffprior.operators.identity import Identity
from diffprior.priors.base import Prior
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import PriorSettings, open_prior
from diffprior.runtime.defaults import choose_method, default_method
from diffprior.runtime.results import Result
from diffprior.runtime.solve import noise_levels, recover

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
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **asked: Unpack[PriorSettings],
) -> Result:
    """Clean an image, or each image of a batch, of white noise.

    One image is the posterior mean, in one call of the prior: the least mean squared error, and
    smooth. Several are samples of the posterior, each with its own texture.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            "auto" is the most likely one under the prior (``diffprior.runtime.noise_level``).
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    given = as_images(image)
    model, report = open_prior("denoise", prior, (3, *given.size), tile, device, precision, **asked)
    levels = noise_levels(sigma, given, model=model)
    report |= {"seed": seed, "sigma": levels}
    default = default_method(model, samples, ONE, SEVERAL)
    pace = None if default == ONE and method is None else steps  # one call has no chain
    return recover(
        given,
        Identity(),
        levels,
        model,
        lambda level: choose_method(method, default.format(2 * level), pace),
        report,
        samples=samples,
        seed=seed,
        ids=ids,
        callback=callback,
    )
