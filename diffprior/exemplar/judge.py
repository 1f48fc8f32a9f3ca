"""Which of several fills a hole best, told without the truth."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .levels import Level, depth, distance
from .shift_map import copied

__all__ = ["unlikeness"]

SIDE = 7  # px of the patches that are compared
SCALES = 3
DIRECTIONS = 64
QUANTILES = 100
LEAST = 16  # patches that a distribution is known by
MOST = 4000  # patches that are looked at


def unlikeness(level: Level, sources: Tensor) -> float:
    """Return how unlike its surroundings a fill is: 0 where their patches are distributed alike.

    It is the sliced Wasserstein distance of the patches in the hole to those around it, without
    their mean colors, over three scales. Of what we tried, it agrees best with the same distance to
    the truth; the denoising error of the photo prior does not, since it prefers a blur.

    Arguments:
        level: The image and its hole.
        sources: The known pixel that each is a copy of, ``(H, W, 2)``.
    """
    hole = level.hole
    image = copied(level.image, sources)
    around = level.known & (distance(~hole) <= max(2, depth(hole)))
    steps = torch.linspace(0, 1, QUANTILES)
    total = 0.0
    for scale in range(SCALES):
        inside, outside = (_details(image, part, scale) for part in (hole, around))
        if min(len(inside), len(outside)) < LEAST:
            break
        generator = torch.Generator().manual_seed(scale)
        lines = F.normalize(torch.randn(inside.shape[1], DIRECTIONS, generator=generator), dim=0)
        first, second = (_quantiles(x @ lines, steps) for x in (inside, outside))
        total += float((first - second).abs().mean())
    return total


def _details(image: Tensor, part: Tensor, scale: int) -> Tensor:
    """Return patches ``(N, D)`` with their centers in a part, without their mean colors."""
    values, weight = image[None], part[None, None].to(image)
    for _ in range(scale):
        values, weight = F.avg_pool2d(values, 2), F.avg_pool2d(weight, 2)
    at = (weight[0, 0] > 0.5).nonzero()
    some = at[:: max(1, len(at) // MOST)]
    padded = F.pad(values, (SIDE // 2,) * 4, mode="replicate")[0]
    windows = padded.unfold(1, SIDE, 1).unfold(2, SIDE, 1)
    patches = windows[:, some[:, 0], some[:, 1]].movedim(0, 1).flatten(2)
    return (patches - patches.mean(2, keepdim=True)).flatten(1)


def _quantiles(x: Tensor, steps: Tensor) -> Tensor:
    """Return quantiles of each column of x, ``(len(steps), columns)``."""
    ordered = x.sort(0).values
    return ordered[(steps * (len(x) - 1)).round().long()]
