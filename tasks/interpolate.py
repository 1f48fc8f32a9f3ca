"""Draw the images between two: the arc from the code of one to the code of the other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Callback
from diffprior.editing.chains import match_image, slerp
from diffprior.editing.codes import edit_codes
from diffprior.io import animations
from diffprior.io.arrays import as_images
from diffprior.priors._conditions import unguided
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import FromFile, LoadSettings, guidance_entry, open_prior
from diffprior.runtime.results import Result, make_result

__all__ = ["interpolate"]

WORD, FILMS = "between", animations.SUFFIXES


def interpolate(
    image: Any,
    to: Annotated[Any, FromFile("The other image, of the same size.")],
    *,
    prompt: Annotated[str | None, "What is shown, for a text-to-image prior."] = None,
    label: Annotated[int | None, "Its class, for a prior of classes."] = None,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int, "Steps up, and as many down."] = 30,
    samples: Annotated[int, "Frames, the two ends included."] = 8,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "full",
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **added: Unpack[LoadSettings],
) -> Result:
    """Walk from an image to another one, or from each image of a batch.

    z = U(x) is the code of DPM-Solver++, upwards to pure noise, of each of the two; frame k comes
    down from ``slerp`` of the codes, so that the first and the last are the round trips of what was
    given. "Denoising Diffusion Implicit Models" (Song et al., 2021), sec. 5.3 and app. D.5,
    https://arxiv.org/abs/2010.02502.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        to: As ``image``; one for all or one for each.
        prompt, label: What both ways go under, unguided, so that they meet.
        seed, ids: Nothing is drawn; they are here for the report.
        callback: Called with the states and the share of the work that is done.
        added: LoRA, ControlNet and where they run, as of ``LoadSettings``.

    Raises:
        ValueError: If an image or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    given = as_images(image)
    ends = torch.cat([given.tensor(), match_image(given, to, "the other image")])
    asked = {"prompt": prompt, "label": label, **added}
    model, report = open_prior(
        "interpolate", prior, (3, *given.size), tile, device, precision, **asked
    )
    model = beside(unguided(model))
    report |= {"seed": seed} | guidance_entry(model, asked)

    def arc(codes: Tensor) -> Tensor:
        a, b = (z.repeat_interleave(samples, 0) for z in codes.chunk(2))
        share = torch.linspace(0, 1, samples).to(a).repeat(len(given)).reshape(-1, 1, 1, 1)
        return slerp(a, b, share)

    x, made = edit_codes(model, ends, arc, steps, callback)
    return make_result(given, x, None, samples, report | {"samples": samples} | made)
