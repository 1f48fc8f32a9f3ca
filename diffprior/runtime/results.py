"""Results: what a task gives back, and the report of how it was made."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..io.arrays import Images

__all__ = ["Result", "make_result"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a task gives back, images being of the kind that came in.

    Attributes:
        image: The image; of several samples the first.
        samples: All samples, each like ``image``.
        mean: Their mean.
        std: Their standard deviation in [0, 1] units, a float array or tensor with the axes of
            ``image``; None of a single sample.
        report: How it was made: version, prior, weights, method, seed, sigma, calls, seconds, and
            how well it fits: ``chi2``, ||y - A x||^2 / (m sigma^2) of each noisy image.
        cover: How much of each pixel is new, ``(B, 1, H, W)`` in [0, 1].
    """

    image: Any
    samples: list[Any]
    mean: Any
    std: Any
    report: dict[str, Any]
    cover: Tensor


def make_result(
    given: Images,
    x: Tensor,
    cover: Tensor | None,
    samples: int,
    report: dict[str, Any],
    opaque: bool = False,
) -> Result:
    """Return samples ``(B * n, C, H, W)``, clipped and laid over what was given, in its own kind.

    Arguments:
        cover: How much of x shows, ``(B, 1, H, W)`` in [0, 1]; None is all of it, and then x may
            be of another size than what was given.
        samples: How many are promised; a method that gives one answer has it repeated.
        opaque: Whether transparency was the hole, and is gone.
    """
    x, count = x.clamp(-1, 1).expand(-1, 3, -1, -1), len(x) // len(given)
    alpha = None if opaque else given.opacity(x.shape[-2:])
    values = given.blend(x, cover)
    values = values.reshape(len(given), count, *values.shape[1:])
    shown = [given.restore_kind(values[:, j % count], alpha) for j in range(samples)]
    mean, std = shown[0], None
    if samples > 1:
        states = x.reshape(len(given), count, *x.shape[1:])
        mean = given.restore_kind(given.blend(states.mean(1), cover), alpha)
        spread = states.std(1, correction=1 if count > 1 else 0) / 2
        std = _shaped(spread if cover is None else spread * cover.to(x), shown[0])
    cover = torch.ones(len(given), 1, *x.shape[-2:]) if cover is None else cover
    return Result(image=shown[0], samples=shown, mean=mean, std=std, report=report, cover=cover)


def _shaped(std: Tensor, like: Any) -> Any:
    """Return deviations ``(B, 3, H, W)`` as a float array or tensor with the axes of an image.

    That of alpha, which is no answer, is 0.
    """
    if isinstance(like, Tensor):
        std = _channels(std, like.shape[-3])
        return (std if like.ndim == 4 else std[0]).to(like.device)
    if isinstance(like, np.ndarray) and like.ndim == 3:
        return _channels(std, like.shape[2])[0].movedim(0, -1).cpu().numpy()
    return std[0].mean(0).cpu().numpy()


def _channels(std: Tensor, count: int) -> Tensor:
    """Return deviations of colors ``(B, 3, H, W)`` as of gray or colors, with alpha or not."""
    shown = std if count > 2 else std.mean(1, keepdim=True)
    return shown if count % 2 else torch.cat([shown, torch.zeros_like(shown[:, :1])], 1)
