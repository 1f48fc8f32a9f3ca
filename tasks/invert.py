"""Turn images into codes that the prior turns back into them, for edits to start from."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch

from diffprior.batching import Callback, part_callback
from diffprior.editing import trajectory
from diffprior.editing.invert import (
    Chain,
    InversionResult,
    condition_prior,
    decode_trajectory,
    inversion_report,
    invert_images,
    resolve_inversion,
    source_condition,
)
from diffprior.inversions.base import Inversion
from diffprior.io.arrays import as_images
from diffprior.metrics import psnr
from diffprior.priors._conditions import innermost, unguided
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.runtime.conditions import LoadSettings, guidance_entry, open_prior
from diffprior.runtime.report import Meter
from diffprior.runtime.results import make_result

__all__ = ["invert"]

WORD, SUFFIX = "inverted", trajectory.SUFFIX
METHOD = "edit_friendly"


def invert(
    image: Any,
    *,
    inversion: Annotated[Inversion | str, 'As in "ddim_inversion(rounds=4)".'] = METHOD,
    strength: Annotated[float | None, "How far up to go, in (0, 1]; 1 is all the way."] = None,
    prompt: Annotated[str | None, "What the image shows, for a prior that reads."] = None,
    negative: Annotated[str | None, "What it does not show."] = None,
    label: Annotated[int | None, "The class of the image, for a prior with classes."] = None,
    guidance: Annotated[float | None, "Of the way up; 1 is none."] = None,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int | None, "Steps of the chain."] = None,
    seed: Annotated[int, "Another seed, another code, where one is drawn."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "full",
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **added: Unpack[LoadSettings],
) -> InversionResult:
    """Invert an image, or each image of a batch; ``edit`` reads the file that this writes.

    The report has the PSNR of the round trip, and ``--compare`` shows it. The network runs in full
    precision, since its two ways have to meet the same numbers.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        inversion: One of ``diffprior.inversions``; edit-friendly (see there) in 50 steps.
        strength: The noise that the way ends at, as that of ``sdedit``; in place of ``stop``. Below
            1 edits keep more of the image, as in "An Edit Friendly DDPM Noise Space"
            (Huberman-Spiegelglas et al., 2024), https://arxiv.org/abs/2304.06140, T_skip.
        guidance: By default 1, whatever the edit's is to be; 7.5 for ``null_text``, which fits it.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with states and the share of the work that is done.
        added: As of ``LoadSettings``. They change the prior, and the file
            remembers them: an edit is to name the same.

    Raises:
        ValueError: If image or a setting is not usable; one sentence says why.
    """
    given = as_images(image)
    model, report = open_prior("invert", prior, (3, *given.size), tile, device, precision, **added)
    method = resolve_inversion(inversion, model, steps, strength)
    condition = source_condition(
        method, prompt=prompt, negative=negative, label=label, guidance=guidance
    )
    source, start, meter = condition_prior(model, condition), time.perf_counter(), Meter()
    report |= {
        "seed": seed,
        **condition,
        **guidance_entry(source, condition),
        **inversion_report(method),
    }
    pixels = given.tensor().to(source.like)
    with meter.on(innermost(unguided(source))):
        first, then = part_callback(callback, 0, 2), part_callback(callback, 1, 2)
        made = invert_images(method, source, condition, given, report, seed, ids, first)
        z = decode_trajectory(made, source, lambda i: Chain(target=beside(source, pixels[i])), then)
        x = source.decode(z)
    report |= meter.report() | {"seconds": round(time.perf_counter() - start, 2)}
    quality = psnr(x.expand(-1, 3, -1, -1), given.tensor().to(x))
    report["round_trip_psnr"] = [round(value, 2) for value in quality.tolist()]
    return InversionResult(**vars(make_result(given, x, None, 1, report)), trajectory=made)
