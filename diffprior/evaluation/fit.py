"""How well a prior fits images: the bits per dimension that it needs for them, beside PNG's."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from statistics import fmean, stdev
from typing import Annotated, Any, Literal

import torch
from PIL import Image
from torch import Tensor

from ..batching import Callback, progress
from ..densities.bound import limit_bound
from ..densities.levels import (
    WIDTH,
    bits_per_dimension,
    dequantize,
    level_log_prob,
    to_levels,
)
from ..errors import ImageError, UnsuitedError
from ..io.arrays import Images
from ..priors.base import Prior
from ..priors.gray import GrayPrior
from ..random import Noise
from ..validation import Checked, Whole, Within

__all__ = ["Fit", "FitSettings", "Window", "measure_fit", "measure_levels"]

By = Literal["bound", "flow"]
Dequantization = Literal["uniform", "variational"]
CODECS: dict[str, dict[str, Any]] = {
    "PNG": {"optimize": True},
    "WEBP": {"lossless": True, "quality": 100, "method": 6, "exact": True},
}


@dataclass(frozen=True, kw_only=True)
class FitSettings(Checked):
    """What is computed of an image.

    Arguments:
        by: ``bound``, the variational bound in the limit of many steps; or ``flow``, the exact
            log-density along the probability flow, which takes longer.
        windows: At most so many parts of the image are measured, spread evenly; 0 is all that fit
            without an overlap.
        side: Side of a part, in pixels.
        draws: Draws of the noise for each part; their spread is the standard error.
        levels: Noise levels of the bound.
        dequantization: What lies inside the levels for the flow: ``uniform`` noise, or
            ``variational``: the noise of the prior at t = 0, with the decoder of the bound.
        probes: Random vectors that estimate the trace of the flow.
        tolerance: Error of a step of the flow.
        seed: Seed of the noise.
    """

    by: By = "bound"
    windows: Whole = 4
    side: Annotated[int, Within(8, 4096)] = 128
    draws: int = 2
    levels: int = 16
    dequantization: Dequantization = "uniform"
    probes: int = 2
    tolerance: Annotated[float, Within(0, 0.1, above=True)] = 1e-3
    seed: Whole = 0


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, x: Tensor) -> Tensor:
        """Return this part of images ``(B, C, H, W)``."""
        rows = slice(self.top, self.top + self.height)
        return x[..., rows, self.left : self.left + self.width].contiguous()


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Bits per dimension of an image: for each pixel and channel.

    Attributes:
        bits: What the prior needs.
        standard_error: Of ``bits``, from the draws of the noise; None for one draw.
        png: What PNG needs for the same parts.
        webp: What WebP without loss needs for them.
        windows: The parts that were measured.
        channels: 1 for a gray image, 3 for colors.
    """

    bits: float
    standard_error: float | None
    png: float
    webp: float
    windows: tuple[Window, ...]
    channels: int


def measure_fit(
    prior: Prior,
    images: Images,
    settings: FitSettings | None = None,
    callback: Callback | None = None,
) -> Fit:
    """Return how many bits per dimension a prior needs for an image.

    Values of more than 8 bits are rounded to the 256 levels. A gray image is measured in one
    channel, an image of colors in three; transparency is left out.

    Arguments:
        prior: A prior of images, on its device.
        images: The image, as a batch of one.
        settings: What is computed.
        callback: Called after each part, with its pixels and the share of the work done.

    Raises:
        ImageError: If the image is smaller than the prior takes.
        UnsuitedError: If the prior is one of latents, or has no E[x_0 | x_t].
    """
    settings = settings or FitSettings()
    prior = _prior_of_pixels(prior, images)
    x_0 = _pixels(prior, images)
    sides = _sides(prior, x_0, settings.side)
    windows = tuple(_windows(x_0.shape[-2:], sides, settings.windows))
    bits, errors, codes = [], [], []
    for (k, window), report in progress(list(enumerate(windows)), callback):
        part = window.cut(x_0)
        own = prior.for_shape(part.shape[1:])
        drawn = measure_levels(own, part.to(prior.like), settings, ids=[k])
        bits.append(drawn.mean().item())
        errors.append(stdev(drawn.tolist()) / math.sqrt(len(drawn)) if len(drawn) > 1 else None)
        codes.append([_coded(part, codec) for codec in CODECS])
        report(part)
    png, webp = (fmean(column) for column in zip(*codes, strict=True))
    known = [error for error in errors if error is not None]
    return Fit(
        bits=fmean(bits),
        standard_error=math.hypot(*known) / len(known) if known else None,
        png=png,
        webp=webp,
        windows=windows,
        channels=x_0.shape[1],
    )


def measure_levels(
    prior: Prior, x_0: Tensor, settings: FitSettings, ids: list[int | str] | None = None
) -> Tensor:
    """Return the bits per dimension of images of 256 levels, one for each draw of the noise.

    Arguments:
        prior: A prior of images of this shape.
        x_0: Images in [-1, 1], of shape ``(B, C, H, W)``.
        settings: What is computed; its parts of an image are not used.
        ids: Names of the streams of the noise; by default all images share one.

    Returns:
        Float64 of shape ``(B * draws,)``, the draws of one image side by side.
    """
    noise = Noise(settings.seed, [0] * len(x_0) if ids is None else ids, settings.draws)
    x_0 = x_0.repeat_interleave(settings.draws, 0)
    if settings.by == "bound":
        return limit_bound(prior, x_0, settings.levels, noise).bits
    nats = _flow(prior, x_0, noise, settings)
    return bits_per_dimension(nats, x_0[0].numel())


def _flow(prior: Prior, x_0: Tensor, noise: Noise, settings: FitSettings) -> Tensor:
    """Return an upper bound of the code length in nats, by the exact density of the flow."""
    t = torch.zeros((), dtype=torch.float64)

    def log_prob(x: Tensor) -> Tensor:
        return prior.log_prob(
            x,
            t,
            seed=settings.seed,
            ids=[f"probe {i}" for i in range(len(x))],
            probes=settings.probes,
            tolerance=settings.tolerance,
        )

    if settings.dequantization == "uniform":
        return -log_prob(dequantize(x_0, noise)) - x_0[0].numel() * math.log(WIDTH)
    kernel = prior.diffusion.noise(x_0, t)
    x_t = kernel.sample(noise)
    with torch.no_grad():
        mean = prior(x_t, t)
    decoded = level_log_prob(x_0, mean, prior.diffusion.schedule.ratio(t))
    return kernel.log_prob(x_t).double().cpu() - log_prob(x_t) - decoded


def _prior_of_pixels(prior: Prior, images: Images) -> Prior:
    """Return the prior of an image: that of gray ones for a gray image."""
    if prior.latent or len(prior.shape) != 3:
        raise UnsuitedError(f"bits per dimension are those of pixels, and {prior.name} has latents")
    if prior.consistency:
        raise UnsuitedError(f"{prior.name} is a consistency model: it has no E[x_0 | x_t]")
    values = images.values
    is_gray = bool((values == values[..., :1]).all())
    return GrayPrior(prior) if is_gray and prior.shape[0] == 3 else prior


def _pixels(prior: Prior, images: Images) -> Tensor:
    """Return an image at the 256 levels, with the channels of the prior."""
    x_0 = prior.encode(images.tensor())
    is_mixed = prior.shape[0] == 1 and x_0.shape[1] == 3
    return to_levels(x_0.mean(1, keepdim=True) if is_mixed else x_0)


def _sides(prior: Prior, x_0: Tensor, side: int) -> tuple[int, int]:
    """Return the height and the width of the parts that a prior takes."""
    height, width = (min(side, n) for n in x_0.shape[-2:])
    try:
        return prior.for_shape((x_0.shape[1], height, width)).shape[-2:]  # type: ignore[return-value]
    except ImageError:  # it has one size
        height, width = prior.shape[-2:]
    if height > x_0.shape[-2] or width > x_0.shape[-1]:
        raise ImageError(
            f"this prior knows images of {width} x {height} pixels, and the image has "
            f"{x_0.shape[-1]} x {x_0.shape[-2]}"
        )
    return height, width


def _windows(size: torch.Size, sides: tuple[int, int], count: int) -> Iterator[Window]:
    """Yield about ``count`` parts of an image that do not overlap, in rows, spread over it."""
    most = [n // side for n, side in zip(size, sides, strict=True)]
    rows = min(most[0], max(1, math.isqrt(count)))
    columns = min(most[1], max(1, count // rows))
    if count == 0:
        rows, columns = most
    for i in range(rows):
        for j in range(columns):
            top = round((i + 0.5) * size[0] / rows - sides[0] / 2)
            left = round((j + 0.5) * size[1] / columns - sides[1] / 2)
            yield Window(top=top, left=left, height=sides[0], width=sides[1])


def _coded(x_0: Tensor, codec: str) -> float:
    """Return the bits per dimension of an image ``(1, C, H, W)`` in a format without loss."""
    values = ((x_0[0] + 1) / WIDTH).round().byte().movedim(0, -1).numpy()
    file = BytesIO()
    image = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    image.save(file, codec, **CODECS[codec])
    return 8 * len(file.getvalue()) / values.size
