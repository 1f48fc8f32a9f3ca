"""Sharpen what is blurred, by a known kernel or an unknown one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Callback
from diffprior.catalog import SettingError
from diffprior.classical.blind_kernel import estimate
from diffprior.errors import TaskError
from diffprior.io.arrays import Images, as_images
from diffprior.methods.base import Method
from diffprior.operators.base import LinearOperator
from diffprior.operators.blur import Blur
from diffprior.operators.circular_blur import CircularBlur
from diffprior.operators.generators.kernels import kernel as read
from diffprior.priors.base import Prior
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import PriorSettings, open_prior
from diffprior.runtime.defaults import choose_method, default_method
from diffprior.runtime.results import Result
from diffprior.runtime.solve import ROUNDING, noise_levels, recover

__all__ = ["deblur"]

WORD = "deblurred"
ONE = "dpir(start=0.4, steps=24, weight=0.3)"  # at 0.23 motion rings, at 0.4 Gaussians soften
BLIND = "dpir(start=0.1, steps=24, weight=1.0)"  # wary: a wrong kernel rings
SEVERAL = "mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))"
LEAST = 0.02  # [0, 1]; what an estimated kernel gets wrong is reckoned as noise


def deblur(
    image: Any,
    kernel: Annotated[
        Tensor | str | None, "gaussian:3, motion:15,45, uniform:9, or an image of it."
    ] = None,
    *,
    blind: Annotated[bool, "Experimental: estimate the kernel from the image."] = False,
    size: Annotated[int, "Pixels a side that an estimated kernel may fill; odd."] = 31,
    boundary: Annotated[str, "Beyond the border: reflect, circular or zero."] = "reflect",
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
    """Undo a blur of an image, or of each image of a batch.

    An unknown kernel is estimated from strong edges, see ``diffprior.classical.blind_kernel``. This
    is experimental: it needs such edges, and a blur that is the same all over the image.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        kernel: A tensor ``(h, w)`` or ``(B, h, w)``, or what
            ``diffprior.operators.generators.kernels.kernel`` reads; needed unless ``blind``.
        size: Of the kernel that is estimated: wider than the blur, but not by much.
        boundary: What lay beyond the border when the image was blurred.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            "auto" estimates it in each image, 1/255 at the least; 0.02 for an estimated kernel.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, kernel or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    given = as_images(image)
    A = _blur(_kernel(given, kernel, blind, size), boundary, len(given))
    levels = noise_levels(sigma, given, least=LEAST if blind else ROUNDING)
    model, report = open_prior("deblur", prior, (3, *given.size), tile, device, precision, **asked)
    default = default_method(model, samples, BLIND if blind else ONE, SEVERAL)
    report |= {"blind": blind, "seed": seed, "sigma": levels}
    report |= {"kernel": f"{tuple(kernel.shape)}" if isinstance(kernel, Tensor) else kernel}
    report |= {"boundary": boundary}
    return recover(
        given,
        A,
        levels,
        model,
        lambda level: choose_method(method, default, steps),
        report,
        samples=samples,
        seed=seed,
        ids=ids,
        callback=callback,
    )


def _kernel(given: Images, kernel: Tensor | str | None, blind: bool, size: int) -> Tensor | str:
    """Return the kernel that is given, or one for each image."""
    if (kernel is None) != blind:
        raise SettingError("give either the kernel of the blur or blind, which estimates it")
    if kernel is not None:
        return kernel
    if size < 3 or size % 2 == 0:
        raise SettingError(f"the size of a kernel is an odd number from 3 on, got {size}")
    if min(given.size) <= 2 * size:
        h, w = given.size
        raise TaskError(f"a kernel of {size} pixels is not to be found in an image of {w}x{h}")
    return torch.stack([estimate(x, size) for x in given.tensor()])


def _blur(kernel: Tensor | str, boundary: str, count: int) -> LinearOperator:
    """Return the blur of so many images."""
    try:
        k = read(kernel)
        if k.ndim == 3 and len(k) not in (1, count):
            raise ValueError(f"there are {len(k)} kernels for {count} images")
        total = k.sum((-2, -1))
        if not ((k >= 0).all() and (total > 0).all() and total.isfinite().all()):
            raise ValueError("a kernel is negative or NaN nowhere, and above 0 somewhere")
        k = k[0] if k.ndim == 3 and len(k) == 1 else k
        return CircularBlur(k) if boundary == "circular" else Blur(k, boundary)
    except ValueError as error:
        raise SettingError(str(error)) from error
