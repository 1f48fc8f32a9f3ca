"""Chains on the states of images, and what edits need around them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bands import in_bands, rows_of
from ..batching import Callback, batched, row_by_row
from ..catalog import SettingError
from ..io.arrays import ImageError, Images, as_images
from ..priors.base import Prior
from ..random import Noise
from ..runtime.memory import batch_size
from ..runtime.report import Meter
from ..samplers.base import CONSISTENCY_STEPS
from ..schedules import LinearBeta
from ..solvers import dot

__all__ = [
    "Chain",
    "Rows",
    "chain_steps",
    "latent_mask",
    "match_image",
    "noise_level_of",
    "run_chain",
    "slerp",
]

Chain = Callable[[Tensor, Tensor, Noise, Callback], Tensor]
Rows = Callable[[Tensor], Tensor]  # makes the images or states of the rows of these numbers
FAINTEST = 1e-4  # strength; its noise is half of a step of 8 bits


@torch.no_grad()
def run_chain(
    model: Prior,
    z: Tensor | Rows,
    chain: Chain,
    noise: Noise,
    callback: Callback | None,
) -> tuple[Tensor, dict[str, Any]]:
    """Return what a chain makes of states, as many at a time as memory holds, and its counts.

    Arguments:
        model: The prior whose calls are counted.
        z: States or images, of shape ``(B, *)``; or a function that makes those of some rows,
            which saves memory: they are held as long as the chain needs them.
        chain: Gets the numbers of some rows, these rows, their noise and their callback, and
            returns what becomes of them.
        noise: The noise streams of all rows.
        callback: Called after each step with the states and the share of work done.
    """
    meter = Meter()
    make = partial(rows_of, z) if isinstance(z, Tensor) else z

    def work(part: Tensor, streams: Noise, callback: Callback) -> Tensor:
        return chain(part, make(part), streams, callback)

    with meter.on(model):
        x = batched(work, noise, callback, batch_size(model))
    return x, meter.report()


def chain_steps(steps: int | None, usual: int, prior: Prior) -> int:
    """Return the steps of a chain: those of the call, or the usual ones, or 4 for consistency."""
    if steps is None:
        return CONSISTENCY_STEPS if prior.consistency else usual
    return steps


def noise_level_of(strength: float) -> float | None:
    """Return sigma / alpha at the time ``strength`` of DDPM's linear betas; None, pure noise, at 1.

    Raises:
        SettingError: If the strength is not in (0, 1], or its noise is less than 8 bits show.
    """
    if not 0 < strength <= 1:
        raise SettingError(f"strength lies in (0, 1], got {strength}")
    if strength < FAINTEST:
        raise SettingError(f"a strength below {FAINTEST} is of no noise that shows, got {strength}")
    ratio = LinearBeta().ratio(torch.tensor(strength, dtype=torch.float64))
    return None if strength == 1 else float(ratio)


def match_image(images: Images, image: Any, what: str, fit: bool = False) -> Tensor:
    """Return ``(B, 3, H, W)`` of a second image for each image, or of one for all.

    Arguments:
        images: The images.
        image: The second image.
        what: Its name in errors.
        fit: Whether one of another size is resized.

    Raises:
        ImageError: If it is of another size, or there is another number of them.
    """
    second = as_images(image)
    if not (fit or second.size == images.size) or len(second) not in (1, len(images)):
        h, w = second.size
        height, width = images.size
        raise ImageError(
            f"{what} is of the image's own size, {width}x{height}, one for all or one for each; "
            f"got {len(second)} of {w}x{h}"
        )
    x = second.tensor()
    if second.size != images.size:
        x = F.interpolate(x, images.size, mode="bicubic", antialias=True).clamp(-1, 1)
    return x.expand(len(images), -1, -1, -1)


def latent_mask(mask: Tensor, model: Prior) -> Tensor:
    """Return 1 for the entries of a state that cover a masked pixel, ``(B, 1, h, w)``.

    Arguments:
        mask: Weight of each pixel in the mask, ``(B, 1, H, W)``.
    """
    stride = model.stride
    h, w = model.shape[-2:]
    beyond = (0, stride * w - mask.shape[-1], 0, stride * h - mask.shape[-2])
    return F.max_pool2d(F.pad((mask > 0).to(model.like), beyond), stride)


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Return (sin((1 - k) w) a + sin(k w) b) / sin(w), w being the angle between each two rows.

    Shares k are of shape ``(B, 1, ..., 1)``, or one for all rows. Where a and b point the same way
    it is the straight line. "Animating rotation with quaternion curves" (Shoemake, 1985).
    """
    return row_by_row(_slerp, a, b, share.expand(len(a), *share.shape[1:]))


def _slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    cos = (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).clamp(-1, 1)
    w = cos.acos().clamp_min(1e-3)  # the sines of smaller angles are the angles, in float32
    one, other = ((1 - share) * w).sin(), (share * w).sin()
    return in_bands(lambda a, b: (one * a + other * b) / w.sin(), a, b)
