"""Draw pictures from nothing but the prior."""

from pathlib import Path
from typing import Annotated

import torch
from PIL import Image

from diffprior.catalog import SettingError, build
from diffprior.deploy import ready
from diffprior.images import pictures
from diffprior.priors.base import Prior
from diffprior.random import Noise
from diffprior.samplers.base import Sampler, Watch

from .base import Meter, Result, demand, provenance, results

__all__ = ["generate"]

WORD = "generated"
SAMPLER = "dpm(steps=30, grid='karras')"


def generate(
    *,
    width: Annotated[int, "Pixels across."] = 256,
    height: Annotated[int, "Pixels down."] = 256,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    sampler: Annotated[Sampler | str | None, 'As in "heun(steps=50)".'] = None,
    steps: Annotated[int | None, "Steps of the sampler's chain."] = None,
    samples: Annotated[int, "How many pictures."] = 1,
    seed: Annotated[int, "Another seed, other pictures."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large picture, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    watch: Watch | None = None,
) -> Result:
    """Draw pictures from the prior alone, as PIL images.

    Arguments:
        sampler: The way down from pure noise; DPM-Solver++ with 30 steps where not given.
        watch: Called after each step with the states and the share of the chain that is done.

    Raises:
        ValueError: If a setting is not usable; one sentence says why.
    """
    demand(samples=samples, steps=steps)
    if min(width, height) < 16:
        raise SettingError(f"a picture is at least 16 pixels a side, got {width}x{height}")
    chosen = sampler if isinstance(sampler, Sampler) else build(sampler or SAMPLER, ("samplers",))
    chosen = chosen if steps is None else chosen.paced(steps)
    model = ready(prior, (3, height, width), device=device, precision=precision, tile=tile)
    noise, meter = Noise(seed, samples=samples), Meter()
    x_T = model.diffusion.terminal((samples, *model.shape)).sample(noise).to(model.like)
    with meter.on(model):
        x = model.decode(chosen(model, x_T, noise, watch=watch))
    report = provenance(model, task="generate", seed=seed, sampler=repr(chosen))
    report |= meter.report()
    blank = pictures(Image.new("RGB", (width, height)))
    return results(blank, x, torch.ones_like(x[:1, :1]), samples, report)
