"""Mend old pictures: scratched, blurred, faded to grey and noisy, all at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Watch
from diffprior.catalog import SettingError
from diffprior.classical.fill import biharmonic
from diffprior.errors import TaskError
from diffprior.io.arrays import coloured, mask_tensor, pictures
from diffprior.methods.base import Method
from diffprior.operators.base import LinearOperator
from diffprior.operators.blur import Blur
from diffprior.operators.generators.kernels import kernel
from diffprior.operators.grey import Grey
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.runtime.checks import demand, demand_colours
from diffprior.runtime.solve import (
    ROUNDING,
    Asked,
    FromFile,
    Result,
    choose,
    noise,
    opened,
    recover,
    usual,
)

__all__ = ["restore"]

WORD = "restored"
ONE = "dpir(start=0.4, steps=30)"
SEVERAL = "mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))"


def restore(
    image: Any,
    scratches: Annotated[Any, FromFile("White = lost; nothing is where not given.")] = None,
    *,
    blur: Annotated[str | None, "gaussian:2, motion:9,30, or a picture of the kernel."] = None,
    grey: Annotated[bool, "The colours are lost, too."] = False,
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
    """Mend a picture, or each picture of a batch, of several faults in one solve.

    What is undone is a blur, then the loss of colours, then scratches, then white noise: the
    operator is their composition, and every pixel is estimated anew.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        scratches: What is lost: white, True or 1; one for all or one for each.
        blur: What ``diffprior.operators.generators.kernels.kernel`` reads.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            "auto" estimates it in each picture, 1/255 at the least.
        names: What the pictures' noise streams depend on beside ``seed``; by default they share.
        watch: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights: ``diffprior.runtime.conditions.Asked``.

    Raises:
        ValueError: If picture, mask or a setting is not usable; one sentence says why.
    """
    demand(samples=samples, steps=steps)
    given = coloured(pictures(image)) if grey else pictures(image)
    lost = torch.zeros(1, 1, 1, 1) if scratches is None else mask_tensor(scratches, given)
    keep = (lost == 0).float().expand(len(given), 1, *given.size)
    if not keep.flatten(1).any(1).all():
        raise TaskError("the scratches hide the whole picture; to draw one from nothing: generate")
    levels = noise(sigma, given, least=ROUNDING)
    model, report = opened("restore", prior, (3, *given.size), tile, device, precision, **asked)
    demand_colours(model, grey)
    report |= {"blur": blur, "grey": grey, "seed": seed, "sigma": levels}
    seen = Grey("luminance") if grey else None
    return recover(
        given,
        _degradation(keep, seen, blur),
        levels,
        model,
        lambda level: choose(method, usual(model, samples, ONE, SEVERAL), steps),
        report,
        samples=samples,
        seed=seed,
        names=names,
        watch=watch,
        measure=lambda x: (seen(x) if seen else x) * keep.to(x),
        guess=lambda x: biharmonic(x, keep.to(x) == 0),
    )


def _degradation(keep: Tensor, grey: Grey | None, blur: str | None) -> LinearOperator:
    A: LinearOperator = Mask(keep, batched=True)
    A = A @ grey if grey else A
    try:
        return A @ Blur(kernel(blur)) if blur else A
    except ValueError as error:
        raise SettingError(str(error)) from error
