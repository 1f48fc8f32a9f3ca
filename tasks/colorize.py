"""Give gray images their colors."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from diffprior.bands import in_bands, is_large, let_go, put_down, take_up
from diffprior.classical.colors import fit_to_luma, propagate_colors
from diffprior.editing.chains import match_image
from diffprior.errors import ImageError, SettingError
from diffprior.io.arrays import Images, as_images, as_rgb
from diffprior.operators.base import LinearOperator, stack
from diffprior.operators.gray import Gray
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.runtime.checks import check_colors
from diffprior.runtime.masks import soft_mask
from diffprior.runtime.memory import measured_pixels
from diffprior.runtime.noise_level import ROUNDING, noise_levels
from diffprior.runtime.parameters import FromFile
from diffprior.runtime.problem import Problem, ProblemFor
from diffprior.runtime.restoration import restoration

__all__ = ["colorize"]

FREE = (  # for one result, and for several
    "dpir(start=0.5, steps=20)",
    "mmps(start=3.0, iterations=1, sampler=dpm(steps=10, grid='logsnr'))",
)
HINTED = (  # where some colors are known: from what these spread to
    "dpir(start=0.2, steps=20)",
    "mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))",
)
GRAY = Gray("luminance")


class Hints(NamedTuple):
    """Known colors ``(B, 3, H, W)``, and one over their deviation in [0, 1], ``(B, 1, H, W)``."""

    colors: Tensor
    certainty: Tensor


def _measurement(
    hints: Hints, luma: Tensor, levels: Sequence[float]
) -> tuple[LinearOperator, Tensor, Tensor]:
    """Return what measures luma and known colors at one noise, its y, and a first guess."""
    colors, certainty = (part.to(luma) for part in hints)
    del hints
    colors = put_down(fit_to_luma(colors, luma))
    weight = certainty * luma.new_tensor(levels).reshape(-1, 1, 1, 1)
    guess = put_down(propagate_colors(colors, weight > 0, luma))
    A = stack(GRAY, Mask(weight, batched=True))
    return A, A.join([luma, in_bands(torch.mul, weight, colors)]), guess


@restoration(past="colorized")
def colorize(
    image: Images,
    mask: Annotated[
        Any,
        FromFile(
            "Mask of the region to color, white where to color; the rest keeps its colors; "
            "default: the whole image.",
            is_mask=True,
        ),
    ] = None,
    *,
    scribble: Annotated[
        Any,
        FromFile(
            "Strokes of color on the image: an image of its size with transparency; default: none."
        ),
    ] = None,
    hint: Annotated[
        float,
        "Noise level of the strokes: the standard deviation of their colors, in (0, 1]; default "
        "0.02. At higher levels strokes are suggestions.",
    ] = 0.02,
    sigma: Annotated[
        float | str,
        "Noise level of the gray image: its standard deviation in [0, 1] units, or auto; "
        "default 0.",
    ] = 0.0,
) -> ProblemFor:
    """Color a gray image; an image with colors loses them first.

    On a command line::

        diffprior colorize gray.jpg -o colored.png

    The luma of the result is the gray image, up to its noise and the rounding to pixels. One result
    is cautious, with pale colors; several differ in their colors. A prior of small textures knows
    little of which thing has which color. Strokes say it: they are a measurement, as the luma is.
    Of a stroke its hue and saturation count, and its brightness does not.

    Arguments:
        mask: True or 1 where to color; elsewhere the image stays, bit for bit, and its colors are
            known.
        scribble: Clear where it says nothing.
        hint: For paint that is half transparent it is twice as much.
        sigma: In [-1, 1] units it is twice as much.
    """
    images = as_rgb(image)
    soft, said = (None, {}) if mask is None else soft_mask(mask, images)
    levels = noise_levels(sigma, images)
    hints: list[Hints] = []  # held until they are measured
    if not 0 < hint <= 1:
        raise SettingError(f"hint lies in (0, 1], got {hint}")
    if scribble is not None or soft is not None:
        hints.append(_hints(images, soft, scribble, hint))
        floor = [max(level, ROUNDING) for level in levels]
    hinted = bool(hints)
    one, several = HINTED if hinted else FREE

    def problem(prior: Prior) -> Problem:
        check_colors(prior)
        luma = GRAY(measured_pixels(images, prior))
        A: LinearOperator
        if hinted:
            A, y, guess = _measurement(hints.pop(), luma, floor)
        else:
            A = GRAY
            y = luma
            guess = luma.expand(-1, 3, -1, -1)
        return Problem(
            operator=A,
            sigma=floor if hinted else levels,
            measure=lambda x: y,
            guess=lambda x: take_up(guess),
            one=one,
            several=several,
            images=images,
            cover=soft,
            makes_colors=True,
            finish=lambda x: _with_luma(x, luma, levels),
            report={"hint": hint, "sigma": levels, **said},
        )

    return ProblemFor(size=images.size, problem=problem)


def _hints(images: Images, soft: Tensor | None, scribble: Any, hint: float) -> Hints:
    """Return the colors of the strokes, and beyond the mask those of the images."""
    colors = images.tensor()
    certainty = torch.zeros_like(colors[:, :1])
    if scribble is not None:
        layer = as_images(scribble)
        clear = layer.holes()
        if clear is None:
            raise ImageError("a scribble is a layer with transparency, and this one has none")
        paint = match_image(images, layer, "a scribble")
        opaque = (1 - clear).expand_as(certainty)
        colors = torch.where(opaque > 0, paint, colors)
        certainty = opaque / hint
    if soft is not None:
        colors = torch.where(soft > 0, colors, images.tensor())
        certainty = torch.where(soft > 0, certainty, 1 / ROUNDING)
    return Hints(colors, certainty)


def _with_luma(x: Tensor, luma: Tensor, levels: Sequence[float]) -> Tensor:
    """Return samples with the luma of their image, where that has no noise."""
    n = len(x) // len(luma)
    if is_large(x[:1]):  # one after the other, in their place
        for j in [j for j in range(len(x)) if levels[j // n] == 0]:
            x[j : j + 1] = fit_to_luma(x[j : j + 1], luma[j // n : j // n + 1])
            let_go(x)
        return x
    fitted = fit_to_luma(x, luma.repeat_interleave(n, 0))
    if not any(levels):
        return fitted
    exact = torch.tensor([level == 0 for level in levels], device=x.device).repeat_interleave(n)
    return torch.where(exact.reshape(-1, 1, 1, 1), fitted, x)
