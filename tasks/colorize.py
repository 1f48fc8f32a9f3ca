"""Give grey pictures their colours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Unpack

import torch
from torch import Tensor

from diffprior.batching import Watch
from diffprior.catalog import SettingError
from diffprior.classical.colors import fitted, spread
from diffprior.editing.chains import second
from diffprior.io.arrays import ImageError, Pictures, coloured, mask_tensor, pictures
from diffprior.methods.base import Method
from diffprior.operators.base import LinearOperator, stack
from diffprior.operators.grey import Grey
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.runtime.checks import demand, demand_colours
from diffprior.runtime.solve import (
    ROUNDING,
    Asked,
    FromFile,
    Result,
    choose,
    draw,
    noise,
    opened,
    pixels,
    results,
    usual,
)

__all__ = ["colorize"]

WORD = "colorized"
ONE = "dpir(start=0.5, steps=20)"
SEVERAL = "mmps(start=3.0, iterations=1, sampler=dpm(steps=10, grid='logsnr'))"
HINTED = "dpir(start=0.2, steps=20)"  # where strokes are known, from what they spread to
SEVERAL_HINTED = "mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))"
WAYS = ((ONE, SEVERAL), (HINTED, SEVERAL_HINTED))
GREY = Grey("luminance")


class Known(NamedTuple):
    """Colours ``(B, 3, H, W)``, and one over their deviation in [0, 1], ``(B, 1, H, W)``."""

    colours: Tensor
    certainty: Tensor

    def seen(self, luma: Tensor, levels: Sequence[float]) -> tuple[LinearOperator, Tensor, Tensor]:
        """Return what measures luma and these colours at one noise, its y, and a first guess."""
        colours, certainty = (part.to(luma) for part in self)
        colours = fitted(colours, luma)
        weight = certainty * luma.new_tensor(levels).reshape(-1, 1, 1, 1)
        A = stack(GREY, Mask(weight, batched=True))
        return A, A.join([luma, weight * colours]), spread(colours, weight > 0, luma)


def colorize(
    image: Any,
    mask: Annotated[Any, FromFile("White = colour; the rest keeps its own.")] = None,
    *,
    scribble: Annotated[
        Any, FromFile("Strokes of colour: a layer with alpha, on the picture.")
    ] = None,
    hint: Annotated[float, "Noise of the strokes, in (0, 1]: more, and they only suggest."] = 0.02,
    sigma: Annotated[float | str, "Noise of the grey picture, in [0, 1]."] = 0.0,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    method: Annotated[Method[Any] | str | None, 'As in "ddrm(eta=0.85)".'] = None,
    steps: Annotated[int | None, "Steps of the method's chain."] = None,
    samples: Annotated[int, "How many different answers."] = 1,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large picture, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
    **asked: Unpack[Asked],
) -> Result:
    """Colour a grey picture, or each picture of a batch; what has colours loses them first.

    The luma of what comes out is what came in, up to its noise and the rounding to pixels. One
    answer is cautious, its colours pale; several differ in their colours. A prior of small textures
    knows little of what has which colour: strokes tell it, a measurement like the luma. Of a stroke
    the hue counts and how strong it is, not how bright.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: White, True or 1 where to colour, everywhere where not given; elsewhere the picture
            stays bit for bit, and its colours are known.
        scribble: A picture of the same size, clear where it says nothing.
        hint: Standard deviation of the colours of the strokes in [0, 1] units; of paint that is
            half clear it is twice as much.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]).
        names: What the pictures' noise streams depend on beside ``seed``; by default they share.
        watch: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights: ``diffprior.runtime.conditions.Asked``.

    Raises:
        ValueError: If picture, mask or a setting is not usable; one sentence says why.
    """
    demand(samples=samples, steps=steps)
    given = coloured(pictures(image))
    soft = None if mask is None else mask_tensor(mask, given)
    levels, known = noise(sigma, given), _known(given, soft, scribble, hint)
    shape = (3, *given.size)
    model, report = opened("colorize", prior, shape, tile, device, precision, **asked)
    demand_colours(model)
    x = pixels(given, model)
    luma, hinted = GREY(x), scribble is not None or soft is not None
    report |= {"seed": seed, "sigma": levels, "hint": hint}
    floor = [max(level, ROUNDING) for level in levels] if hinted else levels
    A, y, guess = known.seen(luma, floor) if hinted else (GREY, luma, luma.expand_as(x))
    x, made = draw(
        model,
        A.to(model.like.device).on(shape),
        y,
        floor,
        [choose(method, usual(model, samples, *WAYS[hinted]), steps)] * len(given),
        samples,
        seed,
        guess=guess.__getitem__,
        names=names,
        watch=watch,
    )
    return results(given, _held(x, luma, levels), soft, samples, report | made)


def _known(given: Pictures, soft: Tensor | None, scribble: Any, hint: float) -> Known:
    """Return the colours of the strokes, and beyond the mask those of the picture."""
    if not 0 < hint <= 1:
        raise SettingError(f"hint lies in (0, 1], got {hint}")
    colours = given.tensor()
    certainty = torch.zeros_like(colours[:, :1])
    if scribble is not None:
        layer = pictures(scribble)
        clear = layer.holes()
        if clear is None:
            raise ImageError("a scribble is a layer with transparency, and this one has none")
        paint = second(given, layer, "a scribble")
        opaque = (1 - clear).expand_as(certainty)
        colours, certainty = torch.where(opaque > 0, paint, colours), opaque / hint
    if soft is not None:
        colours = torch.where(soft > 0, colours, given.tensor())
        certainty = torch.where(soft > 0, certainty, 1 / ROUNDING)
    return Known(colours, certainty)


def _held(x: Tensor, luma: Tensor, levels: Sequence[float]) -> Tensor:
    """Return samples with the luma of their picture, where that has no noise."""
    n = len(x) // len(luma)
    exact = torch.tensor([level == 0 for level in levels], device=x.device).repeat_interleave(n)
    held = fitted(x, luma.repeat_interleave(n, 0))
    return torch.where(exact.reshape(-1, 1, 1, 1), held, x)
