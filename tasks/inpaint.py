"""Fill what a mask hides."""

import math
from typing import Annotated, Any

import cv2
import torch
from torch import Tensor

from diffprior.classical import mask_edges
from diffprior.classical.fill import biharmonic
from diffprior.errors import ImageError, SettingError, TaskError
from diffprior.io import arrays
from diffprior.io.arrays import Images, mask_tensor
from diffprior.methods.base import Guidance
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.runtime.noise_level import ROUNDING, read_sigma
from diffprior.runtime.parameters import FromFile
from diffprior.runtime.problem import Problem, ProblemFor, Window
from diffprior.runtime.restoration import restoration
from diffprior.samplers.ddim import DDIM

__all__ = ["inpaint"]

THIN, THICK, DEEP = (f"dpir(start={s}, steps=30)" for s in (0.15, 0.4, 0.7))  # for one result
DEPTHS = {1.6: THIN, 2.5: THICK, math.inf: DEEP}  # px; mean distance of lost pixels to known ones
SEVERAL = "mmps(start=1.0, iterations=2, sampler=dpm(steps=10, grid='logsnr'))"
SHOWN = Guidance[Any](sampler=DDIM(steps=50))  # for a network that is shown what is round a hole
MARGIN = 96  # px round the holes that are looked at: the network's memory of what surrounds them
LEAST_SIDE = 256  # px of a window
EMPTY = "the mask is empty: there was nothing to do"


@restoration(past="inpainted")
def inpaint(
    image: Images,
    mask: Annotated[
        Any,
        FromFile("Mask of the hole, white where to fill; default: the transparent part."),
    ] = None,
    *,
    texture: Annotated[
        bool,
        "Give the fill the texture of its surroundings: less like the truth, more like a "
        "photograph; default: no.",
    ] = False,
    sigma: Annotated[
        float | str,
        "Noise level of the known pixels: its standard deviation in [0, 1] units, or auto; "
        "default: 0, which keeps them bit for bit.",
    ] = 0.0,
    dilate: Annotated[int, "Pixels to grow the hole by; default 0."] = 0,
    feather: Annotated[
        int, "Width of the blend around the hole, in pixels; default: 0, a hard edge."
    ] = 0,
    fit_mask: Annotated[bool, "Resize a mask of another size to the image's; default: no."] = False,
) -> ProblemFor:
    """Fill the hole of an image; all else stays bit for bit.

    One result comes from annealed plug-and-play (dpir), first in PSNR over the hole in our
    benchmark, from a noisier start where the hole is thick. Several come from mmps, the sampler
    that keeps the most texture there for the PSNR that it costs. Neither has all the texture of a
    photograph; see ``texture``. A network that was trained to fill holes is shown the image and the
    hole, and sampled as it is.

    Arguments:
        mask: True or 1 where to fill; gray blends. One for all images or one for each. None is what
            is transparent in ``image``.
        texture: The fine detail of a sample is laid over the one fill, at the strength of what is
            around the hole. Several such fills differ in detail only; their deviation is no measure
            of uncertainty.
        sigma: In [-1, 1] units it is twice as much. Above 0 the known pixels are cleaned, too.
    """
    soft = _soft_mask(image, mask, dilate, feather, fit_mask)
    hole = soft > 0
    exact = read_sigma(sigma) == 0
    one = [_method(h, texture) for h in hole]
    everything = Window(rows=slice(0, image.size[0]), columns=slice(0, image.size[1]))

    def window(prior: Prior) -> Window:
        """Return what is worked on: what latents say depends on all of the image."""
        return _window(hole) if exact and not prior.latent else everything

    def problem(prior: Prior) -> Problem:
        keep = window(prior).cut(~hole)
        return Problem(
            operator=Mask(keep, batched=True),
            sigma=sigma,
            least=ROUNDING,
            measure=lambda x: x * keep.to(x),
            guess=lambda x: biharmonic(x, ~keep.to(x.device)),
            one=one,
            several=one if texture else SEVERAL,
            shown=SHOWN if exact else None,
            keep=keep,
            lost=hole,
            window=window(prior),
            cover=soft if exact else torch.ones_like(soft),
            opaque=mask is None,
            check=_check_texture if texture else None,
            nothing_to_do=EMPTY if exact and not hole.any() else None,
        )

    return ProblemFor(size=lambda prior: window(prior).size, problem=problem)


def _check_texture(prior: Prior) -> None:
    if prior.latent:
        raise TaskError("texture is laid over what a prior of pixels fills, not one of latents")


def _method(hole: Tensor, texture: bool) -> str:
    """Return the method for one hole, ``(1, H, W)``: what is known less well starts noisier."""
    depth = cv2.distanceTransform(hole[0].byte().numpy(), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    lost = depth[depth > 0].mean() if depth.any() else 0.0
    mean = next(text for most, text in DEPTHS.items() if lost < most)
    return f"textured(mean={mean}, sample={SEVERAL})" if texture else mean


def _soft_mask(images: Images, mask: Any, dilate: int, feather: int, fit: bool) -> Tensor:
    """Return the soft mask of a batch, ``(B, 1, H, W)`` in [0, 1]."""
    if min(dilate, feather) < 0:
        raise SettingError(f"dilate and feather are pixels from 0 on, got {dilate} and {feather}")
    if mask is None:
        soft = images.holes()
        if soft is None:
            raise ImageError("there is no mask, and nothing in the image is transparent; give one")
    else:
        mask = arrays.fit_mask(mask, images.size) if fit else mask
        soft = mask_tensor(mask, images, "give one of the same size, or use --fit-mask")
    soft = mask_edges.dilate(soft, dilate) if dilate else soft
    if (soft > 0).flatten(1).all(1).any():
        raise TaskError("the mask hides the whole image; to draw one from nothing: generate")
    return mask_edges.feather(soft, feather) if feather else soft


def _window(hole: Tensor) -> Window:
    """Return the box of all holes with ``MARGIN`` around it, of ``LEAST_SIDE`` at the least."""
    anywhere = hole.flatten(0, 1).any(0)
    return Window(rows=_span(anywhere.any(1)), columns=_span(anywhere.any(0)))


def _span(lost: Tensor) -> slice:
    """Return the rows, or columns, to work on, from where any pixel is lost."""
    length = len(lost)
    at = lost.nonzero()
    low, high = (int(at.min()), int(at.max()) + 1) if len(at) else (0, length)
    spare = max(MARGIN, (LEAST_SIDE - (high - low) + 1) // 2)
    return slice(max(0, low - spare), min(length, high + spare))
