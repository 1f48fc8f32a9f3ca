"""How close images are to the truth: one number an image, from images in [-1, 1]."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .errors import MetricError

__all__ = [
    "coverage",
    "gradient_energy",
    "gradient_inner_product",
    "lpips",
    "psnr",
    "ssim",
]




def psnr(x: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the PSNR in dB of each image, clipped to its range, of shape ``(B,)``.

    Arguments:
        x, truth: Images, of shape ``(B, C, H, W)``.
        mask: Where to look, ``(B or 1, 1, H, W)``, True or 1; everywhere where not given.
    """
    error = (x.clamp(-1, 1) - truth).square()
    weight = torch.ones_like(error) if mask is None else mask.to(error).expand_as(error)
    mse = (weight * error).flatten(1).sum(1) / weight.flatten(1).sum(1)
    return 10 * (4 / mse).log10()


def ssim(x: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the structural similarity of each image, or its mean over a mask, of shape ``(B,)``.

    Wang et al. (2004): Gaussian window of deviation 1.5, population covariances, channels averaged.
    """
    from skimage.metrics import structural_similarity

    values = []
    for i, (a, b) in enumerate(zip((x.clamp(-1, 1) + 1) / 2, (truth + 1) / 2, strict=True)):
        options: dict[str, Any] = {"gaussian_weights": True, "use_sample_covariance": False}
        _, full = structural_similarity(
            a.double().cpu().numpy(),
            b.double().cpu().numpy(),
            channel_axis=0,
            data_range=1,
            full=True,
            **options,
        )
        image = torch.from_numpy(full).mean(0)
        where = slice(None) if mask is None else mask.expand(len(x), 1, *image.shape)[i, 0] > 0
        values.append(image[where].mean())
    return torch.stack(values)


def lpips(x: Tensor, truth: Tensor) -> Tensor:
    """Return LPIPS (version 0.1, VGG) of each image, of shape ``(B,)``; lower is closer.

    "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (Zhang et al., 2018),
    https://arxiv.org/abs/1801.03924.

    Raises:
        MetricError: If its backbone's weights are not on disk and cannot be fetched.
    """
    model = _lpips()
    if isinstance(model, MetricError):
        raise model
    with torch.no_grad():
        distance: Tensor = model(x.clamp(-1, 1), truth)
    return distance.reshape(-1)


@cache
def _lpips() -> Any:
    """Return the model, or why there is none: it is asked for once."""
    import lpips as package

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it calls torchvision in an old way
            return package.LPIPS(net="vgg", verbose=False).eval()
    except OSError as error:
        return MetricError(f"LPIPS needs the weights of torchvision's VGG-16: {error}")


def coverage(samples: Tensor, truth: Tensor, level: float = 0.9) -> Tensor:
    """Return the share of entries whose truth lies in the central interval of the samples.

    Arguments:
        samples: Draws, of shape ``(n, B, *shape)``.
        truth: Of shape ``(B, *shape)``.
        level: Mass of the interval; what an honest posterior covers on average.

    Returns:
        A share in [0, 1] for each of the B, of shape ``(B,)``.
    """
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=samples.dtype)
    low, high = torch.quantile(samples, tails.to(samples.device), dim=0)
    inside: Tensor = (truth >= low) & (truth <= high)
    return inside.reshape(len(truth), -1).float().mean(1)


def gradient_energy(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared difference of neighbors inside a mask, of shape ``(B,)``.

    Arguments:
        x: Images, of shape ``(B, C, H, W)``.
        mask: Where to look, ``(B or 1, 1, H, W)``; both neighbors are to lie in it.
    """
    return gradient_inner_product(x, x, mask)


def gradient_inner_product(
    u: Tensor,
    v: Tensor,
    mask: Tensor,
    join: Callable[[Tensor, Tensor], Tensor] = torch.mul,
) -> Tensor:
    """Return the mean of <grad u, grad v> over pairs of neighbors, ``(B,)``; nan of no pair.

    Arguments:
        u, v: Images, of shape ``(B, C, H, W)``.
        mask: 1 where to look, else 0, of shape ``(B or 1, 1, H, W)``.
        join: Makes of the masks of two neighbors that of the pair: by default both lie in it,
            with ``torch.maximum`` one does.
    """
    m = mask.to(u).expand(len(u), 1, *u.shape[-2:])
    total, count = u.new_zeros(len(u)), u.new_zeros(len(u))
    for axis in (2, 3):
        n = u.shape[axis] - 1
        pairs = join(m.narrow(axis, 0, n), m.narrow(axis, 1, n))
        total += (pairs * u.diff(dim=axis) * v.diff(dim=axis)).flatten(1).sum(1)
        count += pairs.flatten(1).sum(1) * u.shape[1]
    return total / count
