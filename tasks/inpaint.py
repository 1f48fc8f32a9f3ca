"""Fill what a mask hides."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import cv2
import torch
from torch import Tensor

from diffprior.classical import mask_edges
from diffprior.classical.fill import biharmonic, fill_flat
from diffprior.errors import ImageError, SettingError, TaskError
from diffprior.io.arrays import Images
from diffprior.methods.base import Guidance
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.runtime.boxes import InBoxes, boxes_of, window_of
from diffprior.runtime.masks import SoftMask, one_color, soft_mask
from diffprior.runtime.noise_level import ROUNDING, read_sigma
from diffprior.runtime.parameters import FromFile
from diffprior.runtime.problem import Problem, ProblemInParts, Window, parts_of
from diffprior.runtime.restoration import restoration
from diffprior.samplers.ddim import DDIM

__all__ = ["inpaint"]

FILL = "dpir(start={}, steps=30, spread=32)"  # for one result
THIN, THICK, DEEP = map(FILL.format, (0.15, 0.4, 0.7))
DEPTHS = {1.6: THIN, 2.5: THICK, math.inf: DEEP}  # px; mean distance of lost pixels to known ones
SEVERAL = "mmps(start=1.0, iterations=2, sampler=dpm(steps=10, grid='logsnr'))"
SHOWN = Guidance[Any](sampler=DDIM(steps=50))  # for a network that is shown what is round a hole
EMPTY = "the mask is empty: there was nothing to do"


@restoration(past="inpainted")
def inpaint(
    image: Images,
    mask: Annotated[
        Any,
        FromFile(
            "Mask of the hole, white where to fill; default: the transparent part.", is_mask=True
        ),
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
) -> ProblemInParts | InBoxes:
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
    soft, said = _soft_mask(image, mask, dilate, feather, fit_mask)
    hole = soft > 0
    fill = partial(_fill, texture=texture, sigma=sigma, said=said)
    whole = partial(fill, image, soft, opaque=mask is None)
    boxes = boxes_of(hole, hole | image.invisible()) if read_sigma(sigma) == 0 else []
    if any(boxes):
        return InBoxes(soft=soft, boxes=boxes, page=fill, whole=whole, opaque=mask is None)
    return whole()


def _fill(
    image: Images,
    soft: Tensor,
    *,
    texture: bool,
    sigma: float | str,
    said: Mapping[str, str],
    opaque: bool = False,
) -> ProblemInParts:
    """Return the problem of filling a hole.

    Arguments:
        image: The images, or a part of them.
        soft: Their weights in the mask, ``(B, 1, H, W)`` in [0, 1].
        said: What the report says of the mask.
        opaque: Whether the result loses the transparency of the images.
    """
    hole = soft > 0
    unknown = hole | image.invisible()
    exact = read_sigma(sigma) == 0
    flat = one_color(image, hole, ~unknown) if exact else torch.zeros_like(hole)
    one = [_method(h, u, texture) for h, u in zip(hole, unknown, strict=True)]
    everything = Window(rows=slice(0, image.size[0]), columns=slice(0, image.size[1]))

    def windows(prior: Prior) -> list[Window]:
        """Return what is worked on of each image: latents depend on all of it."""
        return [window_of(h) if exact and not prior.latent else everything for h in hole[:, 0]]

    def problem(rows: list[int], window: Window, prior: Prior) -> Problem:
        lost = window.cut(unknown[rows])
        plain = window.cut(flat[rows]) if _is_plain(prior) else torch.zeros_like(lost)
        keep = ~lost | plain
        methods = [one[i] for i in rows]
        return Problem(
            operator=Mask(keep, batched=True),
            sigma=sigma,
            least=ROUNDING,
            measure=lambda x: fill_flat(x, lost, plain) * keep.to(x),
            guess=lambda x: biharmonic(x, ~keep.to(x.device)),
            one=methods,
            several=methods if texture else SEVERAL,
            shown=SHOWN if exact else None,
            keep=keep,
            lost=unknown[rows],
            window=window,
            cover=soft[rows] if exact else torch.ones_like(soft[rows]),
            opaque=opaque,
            check=_check_texture if texture else None,
            report=said,
            nothing_to_do=EMPTY if exact and not hole[rows].any() else None,
        )

    return ProblemInParts(parts=lambda prior: parts_of(windows(prior), problem))


def _is_plain(prior: Prior) -> bool:
    """Return whether a prior knows pixels only, and nothing that a hole should show."""
    told = prior.reads_text or prior.sees_image or prior.takes_control or prior.label is not None
    return not prior.latent and not told


def _check_texture(prior: Prior) -> None:
    if prior.latent:
        raise TaskError("texture is laid over what a prior of pixels fills, not one of latents")


def _method(hole: Tensor, unknown: Tensor, texture: bool) -> str:
    """Return the method for one hole, ``(1, H, W)``: what is known less well starts noisier.

    Arguments:
        unknown: The hole, and further pixels of which nothing is known.
    """
    depth = cv2.distanceTransform(unknown[0].byte().numpy(), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    lost = depth[hole[0].numpy()].mean() if hole.any() else 0.0
    mean = next(text for most, text in DEPTHS.items() if lost < most)
    return f"textured(mean={mean}, sample={SEVERAL})" if texture else mean


def _soft_mask(images: Images, mask: Any, dilate: int, feather: int, fit: bool) -> SoftMask:
    """Return the soft mask of a batch, ``(B, 1, H, W)`` in [0, 1], and what its report says."""
    if min(dilate, feather) < 0:
        raise SettingError(f"dilate and feather are pixels from 0 on, got {dilate} and {feather}")
    soft, said = _transparent(images) if mask is None else soft_mask(mask, images, fit=fit)
    soft = mask_edges.dilate(soft, dilate) if dilate else soft
    _check_known(soft)
    return SoftMask(mask_edges.feather(soft, feather) if feather else soft, said)


def _transparent(images: Images) -> SoftMask:
    """Return what is transparent in images as their mask."""
    holes = images.holes()
    if holes is None:
        raise ImageError("there is no mask, and nothing in the image is transparent; give one")
    return SoftMask(holes, {})


def _check_known(soft: Tensor) -> None:
    """Refuse masks without a single pixel that is black."""
    darkest = float(soft.amin((1, 2, 3)).max())
    if darkest == 1:
        raise TaskError("the mask hides the whole image; to draw one from nothing: generate")
    if darkest > 0:
        raise TaskError(
            f"the mask hides the whole image, since no pixel of it is black: its darkest is "
            f"{darkest:.1%} white; make black what is to be kept"
        )
