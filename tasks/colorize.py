"""Give gray images their colors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Unpack

import torch
from torch import Tensor

from diffprior.batching import Callback
from diffprior.catalog import SettingError
from diffprior.classical.colors import fit_to_luma, propagate_colors
from diffprior.editing.chains import match_image
from diffprior.io.arrays import ImageError, Images, as_images, as_rgb, mask_tensor
from diffprior.methods.base import Method
from diffprior.operators.base import LinearOperator, stack
from diffprior.operators.gray import Gray
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.runtime.checks import check_colors, check_counts
from diffprior.runtime.conditions import FromFile, PriorSettings, open_prior
from diffprior.runtime.defaults import choose_method, default_method
from diffprior.runtime.results import Result, make_result
from diffprior.runtime.solve import ROUNDING, draw, measured_pixels, noise_levels

__all__ = ["colorize"]

WORD = "colorized"
ONE = "dpir(start=0.5, steps=20)"
SEVERAL = "mmps(start=3.0, iterations=1, sampler=dpm(steps=10, grid='logsnr'))"
HINTED = "dpir(start=0.2, steps=20)"  # where strokes are known, from what they spread to
SEVERAL_HINTED = "mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))"
WAYS = ((ONE, SEVERAL), (HINTED, SEVERAL_HINTED))
GRAY = Gray("luminance")


class Known(NamedTuple):
    """Colors ``(B, 3, H, W)``, and one over their deviation in [0, 1], ``(B, 1, H, W)``."""

    colors: Tensor
    certainty: Tensor

    def measurement(
        self, luma: Tensor, levels: Sequence[float]
    ) -> tuple[LinearOperator, Tensor, Tensor]:
        """Return what measures luma and these colors at one noise, its y, and a first guess."""
        colors, certainty = (part.to(luma) for part in self)
        colors = fit_to_luma(colors, luma)
        weight = certainty * luma.new_tensor(levels).reshape(-1, 1, 1, 1)
        A = stack(GRAY, Mask(weight, batched=True))
        return A, A.join([luma, weight * colors]), propagate_colors(colors, weight > 0, luma)


def colorize(
    image: Any,
    mask: Annotated[Any, FromFile("White = color; the rest keeps its own.")] = None,
    *,
    scribble: Annotated[
        Any, FromFile("Strokes of color: a layer with alpha, on the image.")
    ] = None,
    hint: Annotated[float, "Noise of the strokes, in (0, 1]: more, and they only suggest."] = 0.02,
    sigma: Annotated[float | str, "Noise of the gray image, in [0, 1]."] = 0.0,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    method: Annotated[Method[Any] | str | None, 'As in "ddrm(eta=0.85)".'] = None,
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
    """Color a gray image, or each image of a batch; what has colors loses them first.

    The luma of what comes out is what came in, up to its noise and the rounding to pixels. One
    answer is cautious, its colors pale; several differ in their colors. A prior of small textures
    knows little of what has which color: strokes tell it, a measurement like the luma. Of a stroke
    the hue counts and how strong it is, not how bright.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: White, True or 1 where to color, everywhere where not given; elsewhere the image
            stays bit for bit, and its colors are known.
        scribble: An image of the same size, clear where it says nothing.
        hint: Standard deviation of the colors of the strokes in [0, 1] units; of paint that is
            half clear it is twice as much.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]).
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    given = as_rgb(as_images(image))
    soft = None if mask is None else mask_tensor(mask, given)
    levels, known = noise_levels(sigma, given), _known(given, soft, scribble, hint)
    shape = (3, *given.size)
    model, report = open_prior("colorize", prior, shape, tile, device, precision, **asked)
    check_colors(model)
    x = measured_pixels(given, model)
    luma, hinted = GRAY(x), scribble is not None or soft is not None
    report |= {"seed": seed, "sigma": levels, "hint": hint}
    floor = [max(level, ROUNDING) for level in levels] if hinted else levels
    A, y, guess = known.measurement(luma, floor) if hinted else (GRAY, luma, luma.expand_as(x))
    x, made = draw(
        model,
        A.to(model.like.device).for_shape(shape),
        y,
        floor,
        [choose_method(method, default_method(model, samples, *WAYS[hinted]), steps)] * len(given),
        samples,
        seed,
        guess=guess.__getitem__,
        ids=ids,
        callback=callback,
    )
    return make_result(given, _held(x, luma, levels), soft, samples, report | made)


def _known(given: Images, soft: Tensor | None, scribble: Any, hint: float) -> Known:
    """Return the colors of the strokes, and beyond the mask those of the image."""
    if not 0 < hint <= 1:
        raise SettingError(f"hint lies in (0, 1], got {hint}")
    colors = given.tensor()
    certainty = torch.zeros_like(colors[:, :1])
    if scribble is not None:
        layer = as_images(scribble)
        clear = layer.holes()
        if clear is None:
            raise ImageError("a scribble is a layer with transparency, and this one has none")
        paint = match_image(given, layer, "a scribble")
        opaque = (1 - clear).expand_as(certainty)
        colors, certainty = torch.where(opaque > 0, paint, colors), opaque / hint
    if soft is not None:
        colors = torch.where(soft > 0, colors, given.tensor())
        certainty = torch.where(soft > 0, certainty, 1 / ROUNDING)
    return Known(colors, certainty)


def _held(x: Tensor, luma: Tensor, levels: Sequence[float]) -> Tensor:
    """Return samples with the luma of their image, where that has no noise."""
    n = len(x) // len(luma)
    exact = torch.tensor([level == 0 for level in levels], device=x.device).repeat_interleave(n)
    held = fit_to_luma(x, luma.repeat_interleave(n, 0))
    return torch.where(exact.reshape(-1, 1, 1, 1), held, x)
