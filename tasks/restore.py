"""Mend old images: scratched, blurred, faded to gray and noisy, all at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Callback
from diffprior.catalog import SettingError
from diffprior.classical.fill import biharmonic
from diffprior.errors import TaskError
from diffprior.io.arrays import as_images, as_rgb, mask_tensor
from diffprior.methods.base import Method
from diffprior.operators.base import LinearOperator
from diffprior.operators.blur import Blur
from diffprior.operators.generators.kernels import kernel
from diffprior.operators.gray import Gray
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.runtime.checks import check_colors, check_counts
from diffprior.runtime.conditions import FromFile, PriorSettings, open_prior
from diffprior.runtime.defaults import choose_method, default_method
from diffprior.runtime.results import Result
from diffprior.runtime.solve import ROUNDING, noise_levels, recover

__all__ = ["restore"]

WORD = "restored"
ONE = "dpir(start=0.4, steps=30)"
SEVERAL = "mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))"


def restore(
    image: Any,
    scratches: Annotated[Any, FromFile("White = lost; nothing is where not given.")] = None,
    *,
    blur: Annotated[str | None, "gaussian:2, motion:9,30, or an image of the kernel."] = None,
    grey: Annotated[bool, "The colors are lost, too."] = False,
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
    """Mend an image, or each image of a batch, of several faults in one solve.

    What is undone is a blur, then the loss of colors, then scratches, then white noise: the
    operator is their composition, and every pixel is estimated anew.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        scratches: What is lost: white, True or 1; one for all or one for each.
        blur: What ``diffprior.operators.generators.kernels.kernel`` reads.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            "auto" estimates it in each image, 1/255 at the least.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    given = as_rgb(as_images(image)) if grey else as_images(image)
    lost = torch.zeros(1, 1, 1, 1) if scratches is None else mask_tensor(scratches, given)
    keep = (lost == 0).float().expand(len(given), 1, *given.size)
    if not keep.flatten(1).any(1).all():
        raise TaskError("the scratches hide the whole image; to draw one from nothing: generate")
    levels = noise_levels(sigma, given, least=ROUNDING)
    model, report = open_prior("restore", prior, (3, *given.size), tile, device, precision, **asked)
    check_colors(model, grey)
    report |= {"blur": blur, "grey": grey, "seed": seed, "sigma": levels}
    seen = Gray("luminance") if grey else None
    return recover(
        given,
        _degradation(keep, seen, blur),
        levels,
        model,
        lambda level: choose_method(method, default_method(model, samples, ONE, SEVERAL), steps),
        report,
        samples=samples,
        seed=seed,
        ids=ids,
        callback=callback,
        measure=lambda x: (seen(x) if seen else x) * keep.to(x),
        guess=lambda x: biharmonic(x, keep.to(x) == 0),
    )


def _degradation(keep: Tensor, grey: Gray | None, blur: str | None) -> LinearOperator:
    A: LinearOperator = Mask(keep, batched=True)
    A = A @ grey if grey else A
    try:
        return A @ Blur(kernel(blur)) if blur else A
    except ValueError as error:
        raise SettingError(str(error)) from error
