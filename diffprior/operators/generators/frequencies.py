"""Frequency masks: which frequencies a scanner measures, with zero in the center."""

import inspect
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...validation import literal, shown

__all__ = ["draw", "equispaced", "radial", "random"]


def radial(height: int, width: int, lines: int) -> Tensor:
    """Return a mask of ``lines`` lines through zero, at equal angles.

    All masks of this module are bool, of shape ``(H, W)``, True where a frequency is measured.
    """
    reach = np.linspace(-0.5, 0.5, 4 * max(height, width) + 1)
    keep = np.zeros((height, width), np.bool_)
    for angle in np.arange(lines) * np.pi / lines:
        i = np.round(height // 2 + height * reach * np.sin(angle)).astype(int)
        j = np.round(width // 2 + width * reach * np.cos(angle)).astype(int)
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


LINES = 10_000  # the most, and the most columns for one that is measured

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
            f"cannot read {literal(words)} as a frequency mask; write radial:LINES, "
            "equispaced:ACCELERATION,CENTER or random:ACCELERATION,CENTER,SEED"
        ) from None
    if not all(0 <= number < 2**63 for number in settings):  # neither infinite nor NaN
        raise ValueError(f"the numbers of a frequency mask are from 0 on, got {shown(words, 60)}")
    if not 1 <= settings[0] <= LINES:
        got = shown(words, 60)
        raise ValueError(f"lines and accelerations are from 1 to {LINES}, got {got}")
    return MAKERS[name](height, width, *settings)


def _middle(width: int, center: float) -> Tensor:
    count = round(center * width)
    first = width // 2 - count // 2
    j = torch.arange(width)
    return (first <= j) & (j < first + count)
