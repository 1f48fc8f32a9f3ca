"""Draw images like a given one: its code turned a little towards fresh noise."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Callback
from diffprior.catalog import SettingError
from diffprior.editing.codes import edit_codes
from diffprior.io.arrays import as_images
from diffprior.priors._conditions import unguided
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.random import Noise, stream_ids
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import LoadSettings, guidance_entry, open_prior
from diffprior.runtime.results import Result, make_result

__all__ = ["variations"]

WORD = "varied"


def variations(
    image: Any,
    *,
    strength: Annotated[float, "How far to turn, in (0, 1]: 1 forgets the image."] = 0.15,
    prompt: Annotated[str | None, "What is shown, for a text-to-image prior."] = None,
    label: Annotated[int | None, "Its class, for a prior of classes."] = None,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int, "Steps up, and as many down."] = 30,
    samples: Annotated[int, "How many variations."] = 4,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "full",
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **added: Unpack[LoadSettings],
) -> Result:
    """Draw variations of an image, or of each image of a batch.

    z = U(x) is the code of DPM-Solver++, upwards to pure noise; the answer is its way down, of
    cos(a) z + sin(a) sigma_T eps, a = strength pi / 2. Where the prior is Gaussian the variation of
    a draw is a draw again, of correlation cos(a) with it: the proposal of "MCMC Methods for
    Functions" (Cotter et al., 2013), https://arxiv.org/abs/1202.0709, made to the code.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        strength: Share of a right angle; layout and colors stay at 0.1, and shift at 0.3.
        prompt, label: What both ways go under, unguided, so that they meet.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        added: LoRA, ControlNet and where they run, as of ``LoadSettings``.

    Raises:
        ValueError: If an image or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    if not 0 < strength <= 1:
        raise SettingError(f"strength lies in (0, 1], got {strength}")
    given, angle = as_images(image), strength * math.pi / 2
    asked = {"prompt": prompt, "label": label, **added}
    model, report = open_prior(
        "variations", prior, (3, *given.size), tile, device, precision, **asked
    )
    model = beside(unguided(model))
    report |= {"strength": strength, "seed": seed} | guidance_entry(model, asked)
    noise = Noise(seed, stream_ids(ids, len(given)), samples)

    def turn(z: Tensor) -> Tensor:
        eps = model.diffusion.terminal((len(given) * samples, *model.shape)).sample(noise).to(z)
        return math.cos(angle) * z.repeat_interleave(samples, 0) + math.sin(angle) * eps

    x, made = edit_codes(model, given.tensor(), turn, steps, callback)
    return make_result(given, x, None, samples, report | {"samples": samples} | made)
