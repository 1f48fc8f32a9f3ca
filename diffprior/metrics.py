"""How close images are to the truth: one number for each image of a batch.

Images are tensors of shape ``(B, C, H, W)`` with values in [-1, 1]; results have shape ``(B,)``.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .errors import MetricError

__all__ = [
    "MetricError",
    "coverage",
    "gradient_energy",
    "gradient_inner_product",
    "lpips",
    "psnr",
    "ssim",
]


def psnr(x: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the peak signal-to-noise ratio, 10 log10(4 / MSE), in dB; higher is closer.

    The peak is 2, the width of [-1, 1]. Values of ``x`` outside of that range are clipped first.
    The result is infinite where both images are equal.

    Arguments:
        x: Images to judge, of shape ``(B, C, H, W)``.
        truth: True images, of the same shape.
        mask: Pixels to compare, True or 1, of shape ``(B or 1, 1, H, W)``; default: all pixels.
    """
    error = (x.clamp(-1, 1) - truth).square()
    weight = torch.ones_like(error) if mask is None else mask.to(error).expand_as(error)
    mse = (weight * error).flatten(1).sum(1) / weight.flatten(1).sum(1)
    return 10 * (4 / mse).log10()


def ssim(x: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean structural similarity, at most 1; higher is closer.

    Local similarities are computed with a Gaussian window of standard deviation 1.5 and population
    covariances, and averaged over the channels and the pixels. "Image Quality Assessment: From
    Error Visibility to Structural Similarity" (Wang et al., 2004),
    https://doi.org/10.1109/TIP.2003.819861.

    Arguments:
        x: Images to judge, of shape ``(B, C, H, W)``; values are clipped to [-1, 1].
        truth: True images, of the same shape.
        mask: Pixels whose local similarities count, of shape ``(B or 1, 1, H, W)``; default: all.
    """
    from skimage.metrics import structural_similarity

    values = []
    for i, (a, b) in enumerate(zip((x.clamp(-1, 1) + 1) / 2, (truth + 1) / 2, strict=True)):
        _, full = structural_similarity(
            a.double().cpu().numpy(),
            b.double().cpu().numpy(),
            channel_axis=0,
            data_range=1,
            full=True,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        similarity = torch.from_numpy(full).mean(0)
        if mask is not None:
            similarity = similarity[mask.expand(len(x), 1, *similarity.shape)[i, 0] > 0]
        values.append(similarity.mean())
    return torch.stack(values)


def lpips(x: Tensor, truth: Tensor) -> Tensor:
    """Return LPIPS, the perceptual distance of version 0.1 with VGG-16, from 0 up; lower is closer.

    "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (Zhang et al., 2018),
    https://arxiv.org/abs/1801.03924.

    Arguments:
        x: Images to judge, of shape ``(B, 3, H, W)``; values are clipped to [-1, 1].
        truth: True images, of the same shape.

    Raises:
        MetricError: If the weights of VGG-16 are not on disk and cannot be downloaded.
    """
    model = _lpips_network()
    with torch.no_grad():
        distance: Tensor = model(x.clamp(-1, 1), truth)
    return distance.reshape(-1)


@cache
def _lpips_network() -> Any:
    """Return the network of LPIPS. It is loaded once; a failure is not remembered."""
    import lpips as package

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # lpips calls torchvision in an old style
            return package.LPIPS(net="vgg", verbose=False).eval()
    except OSError as error:
        raise MetricError(f"LPIPS needs the weights of torchvision's VGG-16: {error}") from error


def coverage(samples: Tensor, truth: Tensor, level: float = 0.9) -> Tensor:
    """Return the share of entries whose truth lies in the central interval of the samples.

    The interval runs from the (1 - level) / 2 to the (1 + level) / 2 quantile of each entry.
    Samples of the exact posterior cover ``level`` of the entries on average.

    Arguments:
        samples: Posterior samples, of shape ``(n, B, *shape)``.
        truth: True states, of shape ``(B, *shape)``.
        level: Probability mass of the interval, in (0, 1).

    Returns:
        Shares in [0, 1], of shape ``(B,)``.
    """
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=samples.dtype)
    low, high = torch.quantile(samples, tails.to(samples.device), dim=0)
    inside: Tensor = (truth >= low) & (truth <= high)
    return inside.reshape(len(truth), -1).float().mean(1)


def gradient_energy(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared difference of neighboring pixels, a measure of texture.

    Arguments:
        x: Images, of shape ``(B, C, H, W)``.
        mask: Region to measure, of shape ``(B or 1, 1, H, W)``. A pair of neighbors counts if both
            pixels lie in the region.
    """
    return gradient_inner_product(x, x, mask)


def gradient_inner_product(
    u: Tensor,
    v: Tensor,
    mask: Tensor,
    join: Callable[[Tensor, Tensor], Tensor] = torch.mul,
) -> Tensor:
    """Return the mean of (u_i - u_j)(v_i - v_j) over horizontal and vertical neighbors i, j.

    The result is NaN where the mask holds no pair of neighbors.

    Arguments:
        u: Images, of shape ``(B, C, H, W)``.
        v: Images, of the same shape.
        mask: Region to measure, 1 inside and 0 outside, of shape ``(B or 1, 1, H, W)``.
        join: Combines the masks of two neighbors to the weight of the pair. By default both pixels
            must lie in the region; with ``torch.maximum`` one is enough.
    """
    m = mask.to(u).expand(len(u), 1, *u.shape[-2:])
    total = u.new_zeros(len(u))
    count = u.new_zeros(len(u))
    for axis in (2, 3):
        n = u.shape[axis] - 1
        pairs = join(m.narrow(axis, 0, n), m.narrow(axis, 1, n))
        total += (pairs * u.diff(dim=axis) * v.diff(dim=axis)).flatten(1).sum(1)
        count += pairs.flatten(1).sum(1) * u.shape[1]
    return total / count
