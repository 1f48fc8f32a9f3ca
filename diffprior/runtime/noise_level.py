"""Estimates of the noise of an image: by wavelets, and with the prior as the judge."""

import warnings
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..bands import is_large
from ..errors import SettingError
from ..io.arrays import Images
from ..phases import phase
from ..priors.base import Prior, denoise_vjp
from ..random import Noise
from .memory import measured_pixels

__all__ = ["ROUNDING", "noise_level", "noise_levels", "read_sigma", "wavelet_noise"]

ROUNDING = 1 / 255  # [0, 1]; the noise that is assumed in an 8-bit image without any
LOST = ROUNDING / 12**0.5  # [0, 1]; the deviation of what is lost by 8 bits
WINDOW = 192  # pixels
QUARTILE = 0.6744897501960817  # the third one of the normal law
DETAILS = 256  # rows of them that are taken of a large image at a time

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def read_sigma(sigma: float | str) -> float | Literal["auto"]:
    """Return a noise level in [0, 1], or "auto".

    Raises:
        SettingError: If it is neither.
    """
    if sigma == "auto":
        return "auto"
    try:
        level = float(sigma)
    except (TypeError, ValueError):
        level = -1.0
    if not 0 <= level <= 1:
        raise SettingError(f"sigma lies in [0, 1], the range of an image, or is auto; got {sigma}")
    return level


def noise_levels(
    sigma: float | str, images: Images, least: float = 0.0, prior: Prior | None = None
) -> list[float]:
    """Return the noise level of each image, in [0, 1] units; what is invisible has no say.

    Arguments:
        sigma: The level of all, or "auto" to estimate that of each.
        least: Least value of an estimate.
        prior: A prior of these images, if they are images with white noise and nothing else. It
            knows texture from noise.
    """
    level = read_sigma(sigma)
    if level != "auto":
        return [level] * len(images)
    phase("measuring the noise")
    if images.invisible().any():
        parts = map(images.opaque_part, range(len(images)))
        return [noise_levels(sigma, part, least, prior)[0] for part in parts]
    estimates = wavelet_noise(images.tensor())
    if prior is not None and not prior.latent:
        x = measured_pixels(images, prior)
        estimates = [noise_level(prior, x[i : i + 1], s) for i, s in enumerate(estimates)]
    return [max(estimate, least) for estimate in estimates]


def wavelet_noise(x: Tensor) -> list[float]:
    """Return an estimate of the white noise in each image, in [0, 1] units.

    The median of the finest diagonal wavelet details over 0.6745, mean over the channels. "Ideal
    spatial adaptation by wavelet shrinkage" (Donoho and Johnstone, 1994), eq. 21. Texture counts
    as noise, and noise that was smoothed, by a camera or by JPEG, hardly shows. Details of exactly
    0 are left out; a channel without any other has no noise.

    Arguments:
        x: Images in [-1, 1], of shape ``(B, C, H, W)``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small images, and of flat ones, which have no details
        channels = [[_channel_noise(c) for c in p] for p in x]
    return [float(np.nan_to_num(levels).mean()) for levels in channels]


def _channel_noise(x: Tensor) -> float:
    """Return the estimate of one channel ``(H, W)``; a large one is transformed in bands."""
    if not is_large(x[None, None]):
        from skimage.restoration import estimate_sigma

        return float(estimate_sigma(x.double().cpu().numpy() / 2))
    details = _diagonal_details(x)
    return float(np.median(np.abs(details[details != 0])) / QUARTILE)


def _diagonal_details(x: Tensor) -> Array:
    """Return the finest diagonal details of one channel in [0, 1] units, by the wavelet db2.

    Detail k of a column is of its rows from 2 k - 2 to 2 k + 1; beyond its ends it is mirrored.
    """
    import pywt

    n = len(x)
    count = pywt.dwt_coeff_len(n, 4, "symmetric")
    parts = []
    for first in range(0, count, DETAILS):
        last = min(count, first + DETAILS)
        start = max(0, 2 * first - 2)
        rows = x[start : n if last == count else 2 * last].double().cpu().numpy() / 2
        parts.append(pywt.dwtn(rows, "db2")["dd"][first - start // 2 : last - start // 2])
    return np.concatenate(parts)


def noise_level(prior: Prior, y: Tensor, start: float, rounds: int = 5) -> float:
    """Return the most likely white noise of an image under the prior, in [0, 1] units.

    EM for the sigma of y = x + sigma eps: each round sets sigma^2 to E[||y - x||^2 | y] / m, which
    is ||y - x_0||^2 / m + sigma^2 div x_0 / m with x_0 = E[x | y] at this sigma, the divergence by
    one random probe: "A stochastic estimator of the trace of the influence matrix" (Hutchinson,
    1990). The likelihood of sigma never falls from round to round. Texture that the prior knows
    does not count as noise, as it does for a wavelet's median.

    Arguments:
        prior: Of images ``(3, h, w)`` of any size.
        y: An image in [-1, 1], ``(1, 3, H, W)``; of a large one the window that is clipped least.
        start: A first estimate in [0, 1] units, too large rather than too small.
    """
    y = _window(y).to(prior.like)
    prior = prior.for_shape(y.shape[1:])
    sigma = max(2 * start, 4 * LOST)
    probe = Noise(0).normal(y).sign()
    for _ in range(rounds):
        t = prior.diffusion.schedule.time(sigma)
        alpha_t, _ = prior.diffusion.schedule(t)
        x_0, vjp = denoise_vjp(prior, alpha_t * y, t)
        left = (y - x_0).square().mean()
        spread = sigma**2 * alpha_t * (probe * vjp(probe)).mean()
        sigma = max(float((left + spread).clamp_min(0).sqrt()), 2 * LOST)
    return sigma / 2


def _window(y: Tensor) -> Tensor:
    """Return the window of an image that holds the fewest values at the ends of their range."""
    h, w = (min(n, WINDOW) for n in y.shape[-2:])
    windows = y.unfold(2, h, (h + 1) // 2).unfold(3, w, (w + 1) // 2)  # (1, 3, rows, columns, h, w)
    clipped = torch.stack(  # row by row: all windows are four times the image
        [(row.abs() > 1 - 1 / 255).float().mean((0, 1, 3, 4)) for row in windows.unbind(2)]
    )
    i, j = divmod(int(clipped.argmin()), clipped.shape[1])
    return windows[:, :, i, j].contiguous()
