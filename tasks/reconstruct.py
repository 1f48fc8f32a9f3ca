"""Reconstruct an image from what any operator measured of it."""

from collections.abc import Sequence
from functools import reduce
from operator import matmul
from pathlib import Path
from typing import Annotated, Any, Unpack

import numpy as np
import torch
from torch import Tensor

from diffprior.batching import Callback
from diffprior.catalog import SettingError, build
from diffprior.io.arrays import ImageError, Images, as_images
from diffprior.methods.base import Method
from diffprior.operators.base import LinearOperator, Operator, output_shape
from diffprior.priors.base import Prior
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import PriorSettings, open_prior
from diffprior.runtime.defaults import choose_method, default_method
from diffprior.runtime.memory import image_shape
from diffprior.runtime.results import Result, make_result
from diffprior.runtime.solve import draw

__all__ = ["reconstruct"]

WORD = "reconstructed"
ONE = "dpir(steps=30)"
SEVERAL = "mmps(iterations=3, sampler=dpm(steps=15, grid='logsnr'))"
CURVED = "daps(steps=50, iterations=50)"  # where the operator is not linear
LEAST = 0.01  # units of y; noise without which a density of exact data would have no width
UNIT = "that of y, which the operator makes of an image in [-1, 1]"


def reconstruct(
    y: Any,
    operator: Annotated[Operator | str, 'As in "hadamard(ratio=0.25)"; A @ B is B, then A.'],
    *,
    width: Annotated[int, "Pixels across."],
    height: Annotated[int, "Pixels down."],
    sigma: Annotated[float, "The noise, in the units of y."] = 0.0,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    method: Annotated[Method[Any] | str | None, 'As in "mmps(iterations=5)".'] = None,
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
    """Reconstruct a color image, or a batch of them, from y = A x + noise, for any operator A.

    Arguments:
        y: What A made of an image ``(3, H, W)`` in [-1, 1], in A's own shape: a numpy array, to
            get uint8 ``(H, W, 3)``; or a tensor, also of a batch, to get floats ``([B,] 3, H, W)``
            in [0, 1]. With a gray prior all are gray: ``(1, H, W)`` in, ``(H, W)`` out.
        operator: A: an operator, or text that ids those of the catalog.
        sigma: Standard deviation of the noise in the units of y. Behind an operator that is not
            linear, 0.01 at the least.
        method: By default dpir for one answer and mmps for several; behind an operator that is not
            linear, daps; with a latent prior resample, and daps for several.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If y or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    if not 0 <= sigma < float("inf"):
        raise SettingError(f"sigma is a standard deviation from 0 on, got {sigma}")
    shape = (3, height, width)
    model, report = open_prior("reconstruct", prior, shape, tile, device, precision, **asked)
    A = _operator(operator, image_shape(model))
    known, given = _measurement(y, A, image_shape(model))
    linear = isinstance(A, LinearOperator)
    ways = (ONE, SEVERAL) if linear else (CURVED, CURVED)
    chosen = choose_method(method, default_method(model, samples, *ways), steps)
    level = sigma if linear else max(sigma, LEAST)
    A, known = A.to(model.like.device), known.to(model.like)
    x, made = draw(
        model,
        A,
        known,
        [level / 2] * len(known),
        [chosen] * len(known),
        samples,
        seed,
        ids=ids,
        callback=callback,
    )
    report |= {"operator": str(operator), "seed": seed, "sigma": level}
    return make_result(given, x, None, samples, report | {"sigma_unit": UNIT} | made)


def _operator(given: Operator | str, shape: Sequence[int]) -> Operator:
    """Return the operator of states of this shape."""
    if min(shape) < 1:
        raise SettingError(f"an image is at least 1 pixel a side, got {shape[2]}x{shape[1]}")
    try:
        if isinstance(given, Operator):
            return given.for_shape(shape)
        parts: list[Operator] = [build(text, ("operators",)) for text in given.split("@")]
        return reduce(matmul, parts).for_shape(shape)
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingError(str(error)) from error


def _measurement(y: Any, A: Operator, shape: Sequence[int]) -> tuple[Tensor, Images]:
    """Return y as a batch, and blank images of the kind that is to come back."""
    if not isinstance(y, np.ndarray | Tensor):
        raise ImageError(f"y is a numpy array or a torch tensor, got a {type(y).__name__}")
    if isinstance(y, np.ndarray) and y.dtype.kind not in "buif":
        raise ImageError(f"y holds {y.dtype}; give real numbers")
    known, expected = torch.as_tensor(y), output_shape(A, shape)
    batch = isinstance(y, Tensor) and known.ndim == len(expected) + 1
    if tuple(known.shape[batch:]) != expected or known.is_complex():
        size = f"images of {shape[2]}x{shape[1]}"
        raise ImageError(
            f"of {size} this operator measures {expected}, real; y is {tuple(known.shape)}"
        )
    if not known.isfinite().all():
        raise ImageError("y holds NaN or infinity; give numbers")
    if isinstance(y, np.ndarray):
        axes = (shape[0],) if shape[0] > 1 else ()
        return known[None], as_images(np.zeros((*shape[1:], *axes), np.uint8))
    blank = torch.zeros(len(known) if batch else 1, *shape, device=known.device)
    return known if batch else known[None], as_images(blank if batch else blank[0])
