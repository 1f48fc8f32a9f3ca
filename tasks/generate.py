"""Draw images from nothing but the prior."""

from pathlib import Path
from typing import Annotated, Unpack

import torch
from PIL import Image
from torch import Tensor

from diffprior.batching import Callback
from diffprior.catalog import SettingError, build
from diffprior.editing.chains import run_chain
from diffprior.io.arrays import as_images
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.random import Noise
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import PriorSettings, open_prior
from diffprior.runtime.results import Result, make_result
from diffprior.samplers.base import Sampler
from diffprior.schedules import Rectified

__all__ = ["generate"]

WORD = "generated"
SAMPLER = "dpm(steps=30, grid='karras')"
STRAIGHT = "dpm(steps=30, grid='time')"  # flows are trained evenly in time, shifted as it may be


def generate(
    *,
    width: Annotated[int | None, "Pixels across; by default the prior's own."] = None,
    height: Annotated[int | None, "Pixels down; by default the prior's own."] = None,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    sampler: Annotated[Sampler | str | None, 'As in "heun(steps=50)".'] = None,
    steps: Annotated[int | None, "Steps of the sampler's chain."] = None,
    samples: Annotated[int, "How many images."] = 1,
    seed: Annotated[int, "Another seed, other images."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    callback: Callback | None = None,
    **asked: Unpack[PriorSettings],
) -> Result:
    """Draw images from the prior alone, or of what a text or a class asks of it, as PIL images.

    Arguments:
        sampler: The way down from pure noise; DPM-Solver++ with 30 steps where not given,
            on the grid that suits the schedule.
        callback: Called after each step with the states and the share of the chain that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    if any(n is not None and n < 16 for n in (width, height)):
        raise SettingError(f"an image is at least 16 pixels a side, got {width}x{height}")
    model, report = open_prior(
        "generate", prior, (3, height, width), tile, device, precision, **asked
    )
    model = beside(model)
    usual = STRAIGHT if isinstance(model.diffusion.schedule, Rectified) else SAMPLER
    chosen = sampler if isinstance(sampler, Sampler) else build(sampler or usual, ("samplers",))
    chosen = chosen if steps is None else chosen.with_steps(steps)
    report |= {"seed": seed, "sampler": repr(chosen)}

    def chain(index: Tensor, x_T: Tensor, noise: Noise, callback: Callback | None) -> Tensor:
        return model.decode(chosen(model, x_T, noise, callback=callback))

    noise = Noise(seed, samples=samples)
    x_T = model.diffusion.terminal((samples, *model.shape)).sample(noise).to(model.like)
    x, made = run_chain(model, x_T, chain, noise, callback)
    blank = as_images(Image.new("RGB", (x.shape[-1], x.shape[-2])))
    return make_result(blank, x, torch.ones_like(x[:1, :1]), samples, report | made)
