"""Fill what a mask hides."""

import math
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Unpack

import cv2
import torch
from torch import Tensor

from diffprior.batching import Callback, part_callback
from diffprior.classical import mask_edges
from diffprior.classical.fill import biharmonic
from diffprior.errors import SettingError, TaskError
from diffprior.io import arrays
from diffprior.io.arrays import ImageError, Images, as_images, mask_tensor
from diffprior.methods.base import Guidance, Method
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside, seeing
from diffprior.random import stream_ids
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import FromFile, PriorSettings, report_header, split_settings
from diffprior.runtime.defaults import choose_method, default_method
from diffprior.runtime.placement import place_prior, prepare_prior
from diffprior.runtime.results import Result, make_result
from diffprior.runtime.solve import (
    ROUNDING,
    Solved,
    draw,
    measured_pixels,
    merge_reports,
    noise_levels,
)
from diffprior.samplers.ddim import DDIM

__all__ = ["inpaint"]

WORD = "inpainted"
THIN, THICK, DEEP = (f"dpir(start={s}, steps=30)" for s in (0.15, 0.4, 0.7))  # for one fill
SEVERAL = "mmps(start=1.0, iterations=2, sampler=dpm(steps=10, grid='logsnr'))"
SHOWN = Guidance[Any](sampler=DDIM(steps=50))  # for a network that is shown what is round a hole
DEPTHS = {1.6: THIN, 2.5: THICK, math.inf: DEEP}  # px; mean distance of lost pixels to known ones
MARGIN = 96  # px round the holes that are looked at: the network's memory of what surrounds them


class Window(NamedTuple):
    """The part of a batch of images that holds all holes and what surrounds them."""

    rows: slice
    columns: slice

    def cut(self, x: Tensor) -> Tensor:
        return x[..., self.rows, self.columns]

    def paste(self, x: Tensor, whole: Tensor) -> Tensor:
        """Return images ``(B, C, H, W)``, each repeated to hold all of its parts in x."""
        out = whole.repeat_interleave(len(x) // len(whole), 0)
        out[..., self.rows, self.columns] = x.to(out)
        return out


def inpaint(
    image: Any,
    mask: Annotated[Any, FromFile("White = fill; without one, the transparent part.")] = None,
    *,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    method: Annotated[Method[Any] | str | None, 'As in "ddnm(sampler=ddim(steps=50))".'] = None,
    steps: Annotated[int | None, "Steps of the method's chain."] = None,
    samples: Annotated[int, "How many different fills."] = 1,
    seed: Annotated[int, "Another seed, other fills."] = 0,
    texture: Annotated[bool, "Fills with the texture of what is round them."] = False,
    sigma: Annotated[float | str, "Noise of the known pixels, in [0, 1]; 0 keeps them."] = 0.0,
    dilate: Annotated[int, "Grow the hole by so many pixels."] = 0,
    feather: Annotated[int, "Blend over so many pixels round the hole."] = 0,
    fit_mask: Annotated[bool, "Bring a mask of another size to the image's."] = False,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **asked: Unpack[PriorSettings],
) -> Result:
    """Fill the hole of an image, or of each image of a batch; all else stays bit for bit.

    One image comes from annealed plug-and-play (dpir), first in PSNR over the hole by
    ``scripts/benchmark_inpainting.py``, from a noisier start where the hole is thick; several come
    from mmps, the sampler that there keeps the most texture for the PSNR that it costs. Neither has
    all the texture of a photograph; ``texture`` gives a fill that of what is round it. A network
    that was trained to fill holes is shown the image and the hole, and sampled as it is.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: The hole: white, True or 1 where the image is to be filled; gray blends; one for
            all or one for each. None: what is transparent in ``image``.
        texture: Whether the fine detail of a sample is laid over the one fill, at the strength of
            what is round the hole: less like the truth, more like a photograph. Several such fills
            differ in detail only; their deviation is no measure of uncertainty.
        sigma: Standard deviation of the noise of the known pixels in [0, 1] units (half of what it
            is in [-1, 1]); above 0 they are cleaned too.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    given = as_images(image)
    soft, levels = (
        _mask(given, mask, dilate, feather, fit_mask),
        noise_levels(sigma, given, ROUNDING),
    )
    clean = levels[0] == 0  # a noise that is estimated is never 0
    hole = soft > 0
    opening, rest = split_settings("inpaint", asked)
    found = place_prior(prior, device, precision, opening)
    near = clean and not found.latent  # what latents say depends on all of the image
    window = _around(hole) if near else Window(slice(0, None), slice(0, None))
    keep = window.cut(~hole)
    model = prepare_prior(found, (3, *keep.shape[2:]), precision=precision, tile=tile, **rest)
    defaults = [_default(model, h, samples, texture, clean) for h in hole]
    methods = [choose_method(method, default, steps) for default in defaults]
    report = report_header("inpaint", model, asked) | {"seed": seed, "sigma": levels}
    if clean and not hole.any():
        report["note"] = "the mask is empty: there was nothing to do"
        return make_result(given, given.tensor(), soft, samples, report | {"method": None})
    y = window.cut(measured_pixels(given, model))
    ids = stream_ids(ids, len(given))
    x, more = _fill(model, y, keep, levels, methods, samples, seed, ids, callback)
    cover = soft if clean else torch.ones_like(soft)
    whole = window.paste(x, given.tensor())
    return make_result(given, whole, cover, samples, report | more, opaque=mask is None)


def _fill(
    model: Prior,
    y: Tensor,
    keep: Tensor,
    levels: Sequence[float],
    methods: Sequence[Method[Any]],
    samples: int,
    seed: int,
    ids: Sequence[int | str],
    callback: Callback | None,
) -> Solved:
    """Return samples of images of which these pixels are kept, and their report."""
    if seeing(model) and len(y) > 1:  # one image at a time
        solved = []
        for i in (slice(i, i + 1) for i in range(len(y))):
            name, follow = ids[i], part_callback(callback, i.start, len(y))
            parts = y[i], keep[i], levels[i], methods[i]
            solved.append(_fill(model, *parts, samples, seed, name, follow))
        x, reports = zip(*solved, strict=True)
        return torch.cat(x), reduce(merge_reports, reports)
    keep = keep.to(y)
    return draw(
        beside(model, y * keep, 1 - keep),
        Mask(keep, batched=True),
        y * keep,
        levels,
        methods,
        samples,
        seed,
        guess=lambda index: biharmonic(y[index], keep[index] == 0),
        ids=ids,
        callback=callback,
    )


def _default(
    model: Prior, hole: Tensor, samples: int, texture: bool, clean: bool
) -> str | Method[Any]:
    """Return the method for one hole, ``(1, H, W)``: what is known less well starts noisier."""
    if model.latent and texture:
        raise TaskError("texture is laid over what a prior of pixels fills, not one of latents")
    if seeing(model) and clean:
        return SHOWN
    if model.latent or samples > 1 and not texture:
        return default_method(model, samples, "", SEVERAL)
    depth = cv2.distanceTransform(hole[0].byte().numpy(), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    lost = depth[depth > 0].mean() if depth.any() else 0.0
    one = next(text for most, text in DEPTHS.items() if lost < most)
    return f"textured(mean={one}, sample={SEVERAL})" if texture else one


def _mask(given: Images, mask: Any, dilate: int, feather: int, fit: bool) -> Tensor:
    """Return the soft mask of a batch, ``(B, 1, H, W)`` in [0, 1]."""
    if min(dilate, feather) < 0:
        raise SettingError(f"dilate and feather are pixels from 0 on, got {dilate} and {feather}")
    if mask is None:
        soft = given.holes()
        if soft is None:
            raise ImageError("there is no mask, and nothing in the image is transparent; give one")
    else:
        mask = arrays.fit_mask(mask, given.size) if fit else mask
        soft = mask_tensor(mask, given, "give one of the same size, or use --fit-mask")
    soft = mask_edges.dilate(soft, dilate) if dilate else soft
    if (soft > 0).flatten(1).all(1).any():
        raise TaskError("the mask hides the whole image; to draw one from nothing: generate")
    return mask_edges.feather(soft, feather) if feather else soft


def _around(hole: Tensor) -> Window:
    """Return the box of all holes and ``MARGIN`` round it, 256 pixels a side at the least."""
    bounds = []
    for axis in (3, 2):
        length = hole.shape[5 - axis]
        at = hole.any(axis).flatten(0, 1).any(0).nonzero()
        low, high = (int(at.min()), int(at.max()) + 1) if len(at) else (0, length)
        spare = max(MARGIN, (256 - (high - low) + 1) // 2)
        bounds.append(slice(max(0, low - spare), min(length, high + spare)))
    return Window(*bounds)
