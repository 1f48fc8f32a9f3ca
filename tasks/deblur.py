"""Sharpen a blurred image, by a known kernel or an unknown one."""

from typing import Annotated

import torch
from torch import Tensor

from diffprior.classical.blind_kernel import estimate
from diffprior.errors import SettingError, TaskError
from diffprior.io.arrays import Images
from diffprior.operators.base import LinearOperator
from diffprior.operators.blur import Blur
from diffprior.operators.circular_blur import CircularBlur
from diffprior.operators.generators.kernels import kernel as read_kernel
from diffprior.runtime.noise_level import ROUNDING
from diffprior.runtime.problem import Problem, ProblemFor
from diffprior.runtime.restoration import restoration
from diffprior.runtime.surroundings import Surroundings

__all__ = ["deblur"]

KNOWN = "dpir(start=1.0, steps=24, weight=0.3)"  # a weight of 0.2 rings after motion
BLIND = "dpir(start=0.1, steps=24, weight=1.0)"  # careful: a wrong kernel rings
LEAST = 0.02  # [0, 1]; the error of an estimated kernel counts as noise


@restoration(past="deblurred")
def deblur(
    image: Images,
    kernel: Annotated[
        Tensor | str | None,
        "Kernel of the blur, as in gaussian:3, motion:15,45 or uniform:9 (pixels, degrees), or an "
        "image of it; default: none, which needs blind.",
    ] = None,
    *,
    blind: Annotated[
        bool, "Estimate the kernel from the image (experimental); default: no."
    ] = False,
    size: Annotated[
        int, "Side of an estimated kernel, in pixels, odd, from 3 on; default 31."
    ] = 31,
    boundary: Annotated[
        str,
        "What lies beyond the border: free (unknown, as in a photograph), reflect, circular or "
        "zero; default: free.",
    ] = "free",
    sigma: Annotated[
        float | str, "Noise level: its standard deviation in [0, 1] units, or auto; default: auto."
    ] = "auto",
) -> ProblemFor:
    """Undo a blur.

    On a command line::

        diffprior deblur --kernel motion:9,30 photo.jpg -o sharp.png

    With the boundary "free" the scene is restored a little wider than the image, by as much as the
    blur reached in from beyond its border, and cut to it at the end.

    An unknown kernel is estimated from strong edges, see ``diffprior.classical.blind_kernel``. This
    is experimental: it needs such edges, and a blur that is the same all over the image.

    Arguments:
        kernel: Or a tensor ``(h, w)``, or ``(B, h, w)`` with one for each image. Texts are those of
            ``diffprior.operators.generators.kernels.kernel``.
        size: A little wider than the blur.
        sigma: In [-1, 1] units it is twice as much. "auto" estimates it in each image, as 1/255 at
            the least; as 0.02 with an estimated kernel.
    """
    text = f"{tuple(kernel.shape)}" if isinstance(kernel, Tensor) else kernel
    A = _blur(_kernel(image, kernel, blind, size), boundary, len(image))
    around = Surroundings.of(A)
    problem = Problem(
        operator=A,
        sigma=sigma,
        least=LEAST if blind else ROUNDING,
        guess=around.add,
        one=BLIND if blind else KNOWN,
        several="mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))",
        finish=around.cut,
        report={"blind": blind, "kernel": text, "boundary": boundary},
    )
    return ProblemFor(size=around.size(*image.size), problem=lambda _: problem, widen=around.add)


def _kernel(images: Images, kernel: Tensor | str | None, blind: bool, size: int) -> Tensor | str:
    """Return the kernel of the call, or an estimate for each image."""
    if (kernel is None) != blind:
        raise SettingError("give either the kernel of the blur or blind, which estimates it")
    if kernel is not None:
        return kernel
    if size < 3 or size % 2 == 0:
        raise SettingError(f"the size of a kernel is an odd number from 3 on, got {size}")
    if min(images.size) <= 2 * size:
        h, w = images.size
        raise TaskError(f"a kernel of {size} pixels is not to be found in an image of {w}x{h}")
    return torch.stack([estimate(x, size) for x in images.tensor()])


def _blur(kernel: Tensor | str, boundary: str, count: int) -> LinearOperator:
    """Return the blur of so many images."""
    try:
        k = read_kernel(kernel)
        if k.ndim == 3 and len(k) not in (1, count):
            raise ValueError(f"there are {len(k)} kernels for {count} images")
        total = k.sum((-2, -1))
        if not ((k >= 0).all() and (total > 0).all() and total.isfinite().all()):
            raise ValueError("a kernel is negative or NaN nowhere, and above 0 somewhere")
        k = k[0] if k.ndim == 3 and len(k) == 1 else k
        return CircularBlur(k) if boundary == "circular" else Blur(k, boundary)
    except ValueError as error:
        raise SettingError(str(error)) from error
