"""Frequency masks: which frequencies a scanner measures, with zero in the center."""

import inspect
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["draw", "equispaced", "radial", "random"]


def radial(height: int, width: int, lines: int) -> Tensor:
    """Return a mask of ``lines`` lines through zero, at equal angles.

    All masks of this module are bool, of shape ``(H, W)``, True where a frequency is measured.
    """
    reach = np.linspace(-0.5, 0.5, 4 * max(height, width) + 1)
    angle = np.arange(lines)[:, None] * np.pi / lines
    i = np.round(height // 2 + height * reach * np.sin(angle)).astype(int)
    j = np.round(width // 2 + width * reach * np.cos(angle)).astype(int)
    keep = np.zeros((height, width), np.bool_)
    inside = (0 <= i) & (i < height) & (0 <= j) & (j < width)
    keep[i[inside], j[inside]] = True
    return torch.from_numpy(keep)


def equispaced(height: int, width: int, acceleration: int, center: float = 0.08) -> Tensor:
    """Return a mask of every ``acceleration``-th column, including zero, and of the center.

    Arguments:
        center: The share of columns around zero that are all measured.
    """
    j = torch.arange(width)
    keep = (j - width // 2) % acceleration == 0
    return (keep | _middle(width, center)).expand(height, width).clone()


def random(
    height: int, width: int, acceleration: float, center: float = 0.08, seed: int = 0
) -> Tensor:
    """Return a mask of the central columns and of random others, W / ``acceleration`` on average.

    As in "fastMRI: An Open Dataset and Benchmarks for Accelerated MRI" (Zbontar et al., 2018),
    https://arxiv.org/abs/1811.08839.
    """
    middle = _middle(width, center)
    rest = width - int(middle.sum())
    chance = max(0.0, (width / acceleration - (width - rest)) / max(1, rest))
    drawn = torch.from_numpy(np.random.default_rng(seed).random(width) < chance)
    return (drawn | middle).expand(height, width).clone()


MAKERS: dict[str, Callable[..., Tensor]] = {
    "radial": radial,
    "equispaced": equispaced,
    "random": random,
}


def draw(words: str, height: int, width: int) -> Tensor:
    """Return the mask of "radial:30", "equispaced:4,0.08" or "random:4,0.08,0"."""
    name, _, numbers = words.partition(":")
    try:
        settings = [float(n) if "." in n else int(n) for n in numbers.split(",")]
        inspect.signature(MAKERS[name]).bind(height, width, *settings)
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"cannot read {words!r} as a frequency mask; write radial:LINES, "
            "equispaced:ACCELERATION,CENTER or random:ACCELERATION,CENTER,SEED"
        ) from None
    if settings[0] < 1:
        raise ValueError(f"lines and accelerations are from 1 on, got {words}")
    return MAKERS[name](height, width, *settings)


def _middle(width: int, center: float) -> Tensor:
    count = round(center * width)
    first = width // 2 - count // 2
    j = torch.arange(width)
    return (first <= j) & (j < first + count)
