"""Which of several fills a hole best, told without the truth."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .levels import Level, depth, distance
from .shift_map import copied

__all__ = ["fault", "rarity", "unlikeness"]

SIDE = 7  # px of the patches that are compared
SCALES = 3
DIRECTIONS = 64
QUANTILES = 100
LEAST = 16  # patches that a distribution is known by
MOST = 4000  # patches that are looked at
ELSEWHERE = 2 * SIDE  # px from a source, beyond which a patch is another one
COPIED = 1500  # patches of a fill whose like is looked for
COMMON = 0.01  # difference of the values of patches that are taken as the same


def fault(level: Level, sources: Tensor, blended: Tensor) -> float:
    """Return how much is wrong with a fill; it only compares fills of one hole.

    Copies that are unlike the surroundings, or become so where they are blended, are at fault, and
    so are copies of what is seen only once: a lamp in a hole beside a lamp is no likely truth.

    Arguments:
        level: The image and its hole.
        sources: The known pixel that each is a copy of, ``(H, W, 2)``.
        blended: The image with the copies blended, ``(C, H, W)``.
    """
    copies = copied(level.image, sources)
    unlike = max(unlikeness(level, image) for image in (copies, blended))
    return unlike * math.sqrt(rarity(level, sources) + COMMON)


def rarity(level: Level, sources: Tensor) -> float:
    """Return how far from all other known patches the copies in a hole are, at half the size.

    It is the root mean square difference of the values to the most alike patch that is not near
    the source, as a mean over the copies.

    Arguments:
        level: The image and its hole.
        sources: The known pixel that each is a copy of, ``(H, W, 2)``.
    """
    shown = level._replace(image=copied(level.image, sources), known=level.known | level.hole)
    half, image = level.halved(), shown.halved().image
    sources = sources[::2, ::2] // 2
    edge = F.max_pool2d((~half.known)[None].float(), SIDE, 1, SIDE // 2)[0] > 0
    known = _some((~edge).nonzero(), MOST)
    lost = _some(half.hole.nonzero(), COPIED)
    if not len(known):
        return 0.0
    unlike = torch.cdist(_patches(image, lost), _patches(image, known)) / (SIDE * len(image) ** 0.5)
    place = half.places(sources[lost[:, 0], lost[:, 1]])
    near = torch.cdist(place.to(unlike), half.places(known).to(unlike)) < ELSEWHERE
    least = unlike.masked_fill(near, torch.inf).min(1).values
    return float(least[least.isfinite()].mean().nan_to_num(0.0))


def unlikeness(level: Level, image: Tensor) -> float:
    """Return how unlike its surroundings a fill is: 0 where their patches are distributed alike.

    It is the sliced Wasserstein distance of the patches in the hole to those around it, without
    their mean colors, over three scales. Of what we tried, it agrees best with the same distance to
    the truth; the denoising error of the photo prior does not, since it prefers a blur.

    Arguments:
        level: The image and its hole.
        image: The image with its hole filled, ``(C, H, W)``.
    """
    hole = level.hole
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
    at = _some((weight[0, 0] > 0.5).nonzero(), MOST)
    patches = _patches(values[0], at).reshape(len(at), len(image), SIDE**2)
    return (patches - patches.mean(2, keepdim=True)).flatten(1)


def _some(at: Tensor, number: int) -> Tensor:
    """Return about so many of the pixels ``(N, 2)``, evenly."""
    return at[:: max(1, len(at) // number)]


def _patches(image: Tensor, at: Tensor) -> Tensor:
    """Return the patches ``(N, C * SIDE**2)`` of an image ``(C, H, W)`` around pixels."""
    padded = F.pad(image[None], (SIDE // 2,) * 4, mode="replicate")[0]
    windows = padded.unfold(1, SIDE, 1).unfold(2, SIDE, 1)
    return windows[:, at[:, 0], at[:, 1]].movedim(0, 1).flatten(1)


def _quantiles(x: Tensor, steps: Tensor) -> Tensor:
    """Return quantiles of each column of x, ``(len(steps), columns)``."""
    ordered = x.sort(0).values
    return ordered[(steps * (len(x) - 1)).round().long()]
