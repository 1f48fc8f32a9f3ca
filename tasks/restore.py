"""Mend old photographs: scratched, blurred, faded to gray and noisy, all at once."""

from typing import Annotated, Any

import torch
from torch import Tensor

from diffprior.bands import LARGE
from diffprior.classical.fill import biharmonic, fill_flat
from diffprior.errors import SettingError, TaskError
from diffprior.io.arrays import Images, as_rgb
from diffprior.operators.base import LinearOperator
from diffprior.operators.blur import Blur
from diffprior.operators.generators.kernels import kernel
from diffprior.operators.gray import Gray
from diffprior.operators.mask import Mask
from diffprior.runtime.checks import check_colors
from diffprior.runtime.masks import SoftMask, one_color, soft_mask
from diffprior.runtime.noise_level import ROUNDING
from diffprior.runtime.parameters import FromFile
from diffprior.runtime.problem import Problem, ProblemFor
from diffprior.runtime.restoration import restoration
from diffprior.runtime.surroundings import Surroundings

__all__ = ["restore"]


@restoration(past="restored")
def restore(
    image: Images,
    scratches: Annotated[
        Any, FromFile("Mask of what is lost, white where lost; default: nothing.", is_mask=True)
    ] = None,
    *,
    blur: Annotated[
        str | None,
        "Blur to undo, as in gaussian:2 or motion:9,30 (pixels, degrees), or an image of its "
        "kernel; default: none.",
    ] = None,
    boundary: Annotated[
        str,
        "What lies beyond the border, where the blur reached in from: free (unknown, as in a "
        "photograph), reflect, circular or zero; default: free.",
    ] = "free",
    gray: Annotated[bool, "Whether the colors are lost, too; default: no."] = False,
    sigma: Annotated[
        float | str, "Noise level: its standard deviation in [0, 1] units, or auto; default: auto."
    ] = "auto",
) -> ProblemFor:
    """Mend an image with several faults in one solve.

    On a command line::

        diffprior restore --scratches scratches.png --blur gaussian:1 --gray old.jpg -o mended.png

    It undoes a blur, then the loss of colors, then scratches, then white noise: the operator is
    their composition, and every pixel is estimated anew.

    Arguments:
        scratches: True or 1 where lost. One for all images or one for each.
        blur: What ``diffprior.operators.generators.kernels.kernel`` reads.
        sigma: In [-1, 1] units it is twice as much. "auto" estimates it in each image, as 1/255 at
            the least.
    """
    nothing = SoftMask(torch.zeros(len(image), 1, *image.size), {})
    lost, said = nothing if scratches is None else soft_mask(scratches, image)
    hole = lost > 0
    if hole.flatten(1).all(1).any():
        raise TaskError("the scratches hide the whole image; to draw one from nothing: generate")
    luminance = Gray("luminance")
    blurred = _blur(blur, boundary)
    around = Surroundings.of(blurred)
    flat = torch.zeros_like(hole)
    if blurred is None and not gray:
        flat = one_color(image, hole, ~hole)
    keep = (~hole | flat).float()
    problem = Problem(
        operator=_composed(keep, blurred, luminance if gray else None),
        sigma=sigma,
        least=ROUNDING,
        measure=lambda x: (luminance(x) if gray else fill_flat(x, hole, flat)) * keep.to(x),
        guess=lambda x: around.add(biharmonic(x, keep.to(x) == 0)),
        one="dpir(start=0.4, steps=30, spread=32)",
        several="mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))",
        images=as_rgb(image) if gray else image,
        check=check_colors if gray else None,
        makes_colors=gray,
        lost=hole,
        finish=around.cut,
        report={"blur": blur, "boundary": boundary, "grey": gray, **said},
    )
    return ProblemFor(size=around.size(*image.size), problem=lambda _: problem, widen=around.add)


def _composed(keep: Tensor, blurred: Blur | None, luminance: Gray | None) -> LinearOperator:
    """Return the operator of the faults that there are.

    A large image loses its colors before it is blurred: that is the same, up to rounding, and one
    channel is blurred in the place of three.
    """
    A: LinearOperator = Mask(keep, batched=True)
    if blurred is not None and luminance is not None and 3 * keep[0].numel() > LARGE:
        return A @ blurred @ luminance
    A = A if luminance is None else A @ luminance
    return A if blurred is None else A @ blurred


def _blur(text: str | None, boundary: str) -> Blur | None:
    """Return the blur of a text, None for none; a boundary that makes no sense is refused."""
    try:
        blur = Blur(kernel(text or "uniform:1"), boundary)
    except ValueError as error:
        raise SettingError(str(error)) from error
    return blur if text else None
