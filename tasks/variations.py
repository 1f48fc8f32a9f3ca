"""Draw pictures like a given one: its code turned a little towards fresh noise."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Watch
from diffprior.catalog import SettingError
from diffprior.editing.codes import turned
from diffprior.io.arrays import pictures
from diffprior.priors._conditions import unguided
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.random import Noise
from diffprior.runtime.checks import demand
from diffprior.runtime.solve import Added, Result, named, opened, results, weighed

__all__ = ["variations"]

WORD = "varied"


def variations(
    image: Any,
    *,
    strength: Annotated[float, "How far to turn, in (0, 1]: 1 forgets the picture."] = 0.15,
    prompt: Annotated[str | None, "What is shown, for a text-to-image prior."] = None,
    label: Annotated[int | None, "Its class, for a prior of classes."] = None,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int, "Steps up, and as many down."] = 30,
    samples: Annotated[int, "How many variations."] = 4,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large picture, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "full",
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
    **added: Unpack[Added],
) -> Result:
    """Draw variations of a picture, or of each picture of a batch.

    z = U(x) is the code of DPM-Solver++, upwards to pure noise; the answer is its way down, of
    cos(a) z + sin(a) sigma_T eps, a = strength pi / 2. Where the prior is Gaussian the variation of
    a draw is a draw again, of correlation cos(a) with it: the proposal of "MCMC Methods for
    Functions" (Cotter et al., 2013), https://arxiv.org/abs/1202.0709, made to the code.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        strength: Share of a right angle; layout and colours stay at 0.1, and shift at 0.3.
        prompt, label: What both ways go under, unguided, so that they meet.
        names: What the pictures' noise streams depend on beside ``seed``; by default they share.
        watch: Called with the states and the share of the work that is done.
        added: LoRA, ControlNet and where they run, as of ``diffprior.runtime.conditions.Added``.

    Raises:
        ValueError: If a picture or a setting is not usable; one sentence says why.
    """
    demand(samples=samples, steps=steps)
    if not 0 < strength <= 1:
        raise SettingError(f"strength lies in (0, 1], got {strength}")
    given, angle = pictures(image), strength * math.pi / 2
    asked = {"prompt": prompt, "label": label, **added}
    model, report = opened("variations", prior, (3, *given.size), tile, device, precision, **asked)
    model = beside(unguided(model))
    report |= {"strength": strength, "seed": seed} | weighed(model, asked)
    noise = Noise(seed, named(names, len(given)), samples)

    def turn(z: Tensor) -> Tensor:
        eps = model.diffusion.terminal((len(given) * samples, *model.shape)).sample(noise).to(z)
        return math.cos(angle) * z.repeat_interleave(samples, 0) + math.sin(angle) * eps

    x, made = turned(model, given.tensor(), turn, steps, watch)
    return results(given, x, None, samples, report | {"samples": samples} | made)
