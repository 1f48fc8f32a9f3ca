"""Turn pictures into codes that the prior turns back into them, for edits to start from."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch

from diffprior.batching import Watch, share
from diffprior.editing import trajectory
from diffprior.editing.invert import (
    Chain,
    Inverted,
    asked,
    descended,
    inverted,
    settled,
    under,
    way,
)
from diffprior.inversions.base import Inversion
from diffprior.io.arrays import pictures
from diffprior.metrics import psnr
from diffprior.priors._conditions import innermost, unguided
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.runtime.report import Meter
from diffprior.runtime.results import results
from diffprior.runtime.solve import Added, opened, weighed

__all__ = ["invert"]

WORD, SUFFIX = "inverted", trajectory.SUFFIX
METHOD = "edit_friendly"


def invert(
    image: Any,
    *,
    inversion: Annotated[Inversion | str, 'As in "ddim_inversion(rounds=4)".'] = METHOD,
    strength: Annotated[float | None, "How far up to go, in (0, 1]; 1 is all the way."] = None,
    prompt: Annotated[str | None, "What the picture shows, for a prior that reads."] = None,
    negative: Annotated[str | None, "What it does not show."] = None,
    label: Annotated[int | None, "The class of the picture, for a prior with classes."] = None,
    guidance: Annotated[float | None, "Of the way up; 1 is none."] = None,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int | None, "Steps of the chain."] = None,
    seed: Annotated[int, "Another seed, another code, where one is drawn."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large picture, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "full",
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
    **added: Unpack[Added],
) -> Inverted:
    """Invert a picture, or each picture of a batch; ``edit`` reads the file that this writes.

    The report has the PSNR of the round trip, and ``--compare`` shows it. The network runs in full
    precision, since its two ways have to meet the same numbers.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        inversion: One of ``diffprior.inversions``; edit-friendly (see there) in 50 steps.
        strength: The noise that the way ends at, as that of ``sdedit``; in place of ``stop``. Below
            1 edits keep more of the picture, as in "An Edit Friendly DDPM Noise Space"
            (Huberman-Spiegelglas et al., 2024), https://arxiv.org/abs/2304.06140, T_skip.
        guidance: By default 1, whatever the edit's is to be; 7.5 for ``null_text``, which fits it.
        names: What the pictures' noise streams depend on beside ``seed``; by default they share.
        watch: Called with states and the share of the work that is done.
        added: As of ``diffprior.runtime.conditions.Added``. They change the prior, and the file
            remembers them: an edit is to name the same.

    Raises:
        ValueError: If picture or a setting is not usable; one sentence says why.
    """
    given = pictures(image)
    model, report = opened("invert", prior, (3, *given.size), tile, device, precision, **added)
    method = settled(inversion, model, steps, strength)
    condition = asked(method, prompt=prompt, negative=negative, label=label, guidance=guidance)
    source, start, meter = under(model, condition), time.perf_counter(), Meter()
    report |= {"seed": seed, **condition, **weighed(source, condition), **way(method)}
    pixels = given.tensor().to(source.like)
    with meter.on(innermost(unguided(source))):
        first, then = share(watch, 0, 2), share(watch, 1, 2)
        made = inverted(method, source, condition, given, report, seed, names, first)
        z = descended(made, source, lambda i: Chain(target=beside(source, pixels[i])), then)
        x = source.decode(z)
    report |= meter.report() | {"seconds": round(time.perf_counter() - start, 2)}
    quality = psnr(x.expand(-1, 3, -1, -1), given.tensor().to(x))
    report["round_trip_psnr"] = [round(value, 2) for value in quality.tolist()]
    return Inverted(**vars(results(given, x, None, 1, report)), trajectory=made)
