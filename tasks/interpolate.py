"""Draw the pictures between two: the arc from the code of one to the code of the other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Watch
from diffprior.editing.chains import second, slerp
from diffprior.editing.codes import turned
from diffprior.io import animations
from diffprior.io.arrays import pictures
from diffprior.priors._conditions import unguided
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.runtime.checks import demand
from diffprior.runtime.solve import Added, FromFile, Result, opened, results, weighed

__all__ = ["interpolate"]

WORD, FILMS = "between", animations.SUFFIXES


def interpolate(
    image: Any,
    to: Annotated[Any, FromFile("The other picture, of the same size.")],
    *,
    prompt: Annotated[str | None, "What is shown, for a text-to-image prior."] = None,
    label: Annotated[int | None, "Its class, for a prior of classes."] = None,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int, "Steps up, and as many down."] = 30,
    samples: Annotated[int, "Frames, the two ends included."] = 8,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large picture, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "full",
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
    **added: Unpack[Added],
) -> Result:
    """Walk from a picture to another one, or from each picture of a batch.

    z = U(x) is the code of DPM-Solver++, upwards to pure noise, of each of the two; frame k comes
    down from ``slerp`` of the codes, so that the first and the last are the round trips of what was
    given. "Denoising Diffusion Implicit Models" (Song et al., 2021), sec. 5.3 and app. D.5,
    https://arxiv.org/abs/2010.02502.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        to: As ``image``; one for all or one for each.
        prompt, label: What both ways go under, unguided, so that they meet.
        seed, names: Nothing is drawn; they are here for the report.
        watch: Called with the states and the share of the work that is done.
        added: LoRA, ControlNet and where they run, as of ``diffprior.runtime.conditions.Added``.

    Raises:
        ValueError: If a picture or a setting is not usable; one sentence says why.
    """
    demand(samples=samples, steps=steps)
    given = pictures(image)
    ends = torch.cat([given.tensor(), second(given, to, "the other picture")])
    asked = {"prompt": prompt, "label": label, **added}
    model, report = opened("interpolate", prior, (3, *given.size), tile, device, precision, **asked)
    model = beside(unguided(model))
    report |= {"seed": seed} | weighed(model, asked)

    def arc(codes: Tensor) -> Tensor:
        a, b = (z.repeat_interleave(samples, 0) for z in codes.chunk(2))
        share = torch.linspace(0, 1, samples).to(a).repeat(len(given)).reshape(-1, 1, 1, 1)
        return slerp(a, b, share)

    x, made = turned(model, ends, arc, steps, watch)
    return results(given, x, None, samples, report | {"samples": samples} | made)
