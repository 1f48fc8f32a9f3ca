"""Remove what JPEG left: blocks, rings and blots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack, cast

import torch

from diffprior.batching import Callback
from diffprior.catalog import SettingError
from diffprior.errors import TaskError
from diffprior.io.arrays import Images, as_images
from diffprior.io.jpeg import Coding, read, standard
from diffprior.likelihoods.jpeg import CellLikelihood, Coefficients, agrees, detect
from diffprior.methods.base import Method
from diffprior.priors.base import Prior
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import PriorSettings, open_prior
from diffprior.runtime.defaults import BEHIND, choose_method
from diffprior.runtime.memory import image_shape
from diffprior.runtime.results import Result, make_result
from diffprior.runtime.solve import measured_pixels, solve

__all__ = ["dejpeg"]

WORD = "dejpegged"
ONE = "dpir(start=0.4, stop=0.02, steps=10)"
SEVERAL = "diffpir(start=0.4, sampler=ddim(steps=20, eta=1.0, grid='logsnr'))"


def dejpeg(
    image: Any,
    quality: Annotated[int | None, "1 to 100; where not given, as the file says."] = None,
    *,
    subsampling: Annotated[str | None, "Of chroma, beside a quality: 4:2:0, 4:2:2, 4:4:4."] = None,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    method: Annotated[Method[Any] | str | None, 'As in "diffpir(weight=1)".'] = None,
    steps: Annotated[int | None, "Steps of the method's chain."] = None,
    samples: Annotated[int, "How many different answers."] = 1,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    coding: Coding | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **asked: Unpack[PriorSettings],
) -> Result:
    """Remove the artifacts of JPEG from an image, or from each image of a batch.

    A file tells the interval that each coefficient of its image lies in; what comes out lies in
    all of them, up to the rounding to pixels: saved again, it is nearly the same file. How it was
    compressed is taken from ``quality``, from the file, or from the pixels, which show it as long
    as nothing but decoding was done to them.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1]; its
            blocks begin at its upper left corner.
        quality: That of libjpeg's tables; other programs have other scales.
        subsampling: "4:2:0" where only a quality is given.
        method: Of those that hold images to data by a conditional mean: dpir and diffpir; behind
            a decoder resample.
        coding: The file's own, where ``image`` is no longer the PIL image that was opened.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    given = as_images(image)
    found = _coding(image, given, quality, subsampling, coding)
    model, report = open_prior("dejpeg", prior, (3, *given.size), tile, device, precision, **asked)
    default = BEHIND[0] if model.latent else ONE if samples == 1 else SEVERAL
    chosen = choose_method(method, default, steps)
    A = Coefficients(image_shape(model), found).to(model.like)
    seen = measured_pixels(given, model)
    x, made = solve(
        model,
        CellLikelihood(operator=A, y=A.coded(seen)),
        [chosen] * len(given),
        samples,
        seed,
        guess=lambda: seen,
        ids=ids,
        callback=callback,
    )
    told = {"luma_step": found.luma[0], "subsampling": found.subsampling}
    report |= {"quality": quality, **told, "seed": seed}
    return make_result(given, x, None, samples, report | made)


def _coding(
    image: Any, given: Images, quality: int | None, subsampling: str | None, coding: Coding | None
) -> Coding:
    """Return how the images were compressed, from the first source that says so."""
    if quality is None and subsampling is not None:
        raise SettingError("a subsampling is given beside a quality, got it alone")
    if quality is not None:
        try:
            return standard(quality, cast(Any, subsampling or "4:2:0"))
        except ValueError as error:
            raise SettingError(str(error)) from error
    x, own = given.tensor()[0], read(image)
    if own and not agrees(x, own):  # Pillow keeps the tables of an image that is changed in place
        own = None
    found = coding or own or detect(x)
    if found is None:
        raise TaskError(
            "this is no JPEG file, and its pixels do not show how it was compressed; give a quality"
        )
    return found
