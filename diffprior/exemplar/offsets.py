"""The offsets at which what surrounds a hole repeats.

"Statistics of Patch Offsets for Image Completion" (He and Sun, 2012): the offsets of patches to
their nearest likes have few peaks, and copies at these offsets complete most holes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .levels import Level

__all__ = ["dominant_offsets", "some_offsets"]

QUERIES = 5000  # patches round the hole of which the nearest like is looked up
COMPONENTS = 20  # of patches, that they are compared by
LEARNED_FROM = 4000  # patches that these are learned from
CHUNK = 512  # patches that are looked up at a time,
BLOCK = 4096  # and those that they are compared with: their table stays in the cache
TEXTURE = 2.0  # weight of the texture in patches, over that of the color
NEAR = 15  # the larger side over it is the least length of an offset, in pixels
USED = 0.05  # share of the hole that an offset brings known pixels to, at the least
TABLE = 2**26  # offsets times lost pixels, at the most: a table of them is held in memory


def dominant_offsets(
    level: Level, count: int, generator: torch.Generator, *, side: int = 7, width: float = 1.5
) -> Tensor:
    """Return offsets ``(K, 2)``, in rows and columns, from each lost pixel to a known one.

    A hole that hides almost all of a large image would need thousands: some pixels then have none.

    Arguments:
        level: The image and its hole.
        count: The most offsets by their number of likes; few more follow where the hole needs them.
        generator: Of the patches that are looked at.
        side: Of a patch, in pixels.
        width: Of the Gaussian that smooths the histogram of offsets, in pixels.
    """
    found = _peaks(_nearest_offsets(level, side, generator), level, width)
    useful = [offset for offset in found if _brings(level, offset).float().mean() > USED]
    chosen = torch.stack(useful[:count]) if useful else found[:0]
    return _completed(chosen, level, generator)


def some_offsets(offsets: Tensor, level: Level, generator: torch.Generator) -> Tensor:
    """Return half of the offsets ``(K, 2)``, and others where the hole needs them."""
    kept = torch.randperm(len(offsets), generator=generator)[: (len(offsets) + 1) // 2]
    return _completed(offsets[kept], level, generator)


def _nearest_offsets(level: Level, side: int, generator: torch.Generator) -> Tensor:
    """Return the offsets ``(N, 2)`` of known patches near the hole to the known ones most alike."""
    if min(level.size) < side:
        return torch.zeros(0, 2, dtype=torch.long)
    unknown = (~level.known)[None, None].float()
    known = F.max_pool2d(unknown, side, stride=1)[0, 0] == 0
    at = known.nonzero()
    if len(at) < 2:
        return at[:0]
    shown = torch.cat([level.image, TEXTURE * level.texture])
    patches = F.unfold(shown[None], side)[0].T[known.flatten()]
    keys = _principal(patches, generator)
    queries = _near(level, at, side, generator).sort().values
    if not len(queries):
        return at[:0]
    return torch.cat(
        [_most_alike(keys, at, part, max(level.size)) for part in torch.split(queries, CHUNK)]
    )


def _most_alike(keys: Tensor, at: Tensor, queries: Tensor, size: int) -> Tensor:
    """Return the offsets ``(M, 2)`` of some patches to those most alike that are not near.

    Arguments:
        keys: All patches, ``(N, D)``.
        at: Their places ``(N, 2)``, row by row.
        queries: The numbers of some, in their order. One that has no patch far from it is left out.
        size: The longer side of the image, in pixels.
    """
    own, least = at[queries].float(), size / NEAR
    half = (keys * keys).sum(1) / 2
    best = keys.new_full((len(queries),), -torch.inf)
    nearest = torch.zeros_like(queries)
    for first in range(0, len(keys), BLOCK):
        block = slice(first, first + BLOCK)
        likeness = (keys[queries] @ keys[block].T).sub_(half[block])
        there = at[block].float()
        if there[0, 0] <= own[-1, 0] + least and there[-1, 0] >= own[0, 0] - least:
            square = (there - own[:, None]).square().sum(-1)
            likeness.masked_fill_(square < least**2, -torch.inf)
        most, which = likeness.max(1)
        better = most > best
        best = torch.where(better, most, best)
        nearest = torch.where(better, first + which, nearest)
    return (at[nearest] - at[queries])[best > -torch.inf]


def _principal(patches: Tensor, generator: torch.Generator) -> Tensor:
    """Return patches ``(N, D)`` by their principal components."""
    mean = patches.mean(0)
    some = torch.randperm(len(patches), generator=generator)[:LEARNED_FROM]
    _, _, axes = torch.linalg.svd(patches[some] - mean, full_matrices=False)
    keys: Tensor = (patches - mean) @ axes[:COMPONENTS].T
    return keys


def _near(level: Level, at: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Return the numbers of patches, some of those within the size of the hole from it."""
    lost = level.hole.nonzero()
    reach = int((lost.amax(0) - lost.amin(0)).max()) + 1
    low, high = lost.amin(0) - reach, lost.amax(0) + reach
    middle = at + side // 2
    near = ((middle >= low) & (middle <= high)).all(1).nonzero()[:, 0]
    return near[torch.randperm(len(near), generator=generator)[:QUERIES]]


def _peaks(offsets: Tensor, level: Level, width: float) -> Tensor:
    """Return the peaks ``(P, 2)`` of the histogram of offsets, highest first; -o counts with o."""
    if not len(offsets):
        return offsets
    height, columns = level.size
    middle = torch.tensor([height, columns])
    counts = torch.zeros(2 * height + 1, 2 * columns + 1)
    for sign in (1, -1):
        at = sign * offsets + middle
        counts.index_put_((at[:, 0], at[:, 1]), torch.ones(len(at)), accumulate=True)
    smooth = _smoothed(counts, width)
    highest = F.max_pool2d(smooth[None, None], 5, stride=1, padding=2)[0, 0]
    peaks = ((smooth == highest) & (smooth > 1e-6)).nonzero()
    order = smooth[peaks[:, 0], peaks[:, 1]].argsort(descending=True, stable=True)
    return peaks[order] - middle


def _smoothed(counts: Tensor, width: float) -> Tensor:
    from kornia.filters import gaussian_blur2d

    side = 2 * int(4 * width + 0.5) + 1
    out: Tensor = gaussian_blur2d(counts[None, None], (side, side), (width, width), "constant")
    return out[0, 0]


def _brings(level: Level, offset: Tensor) -> Tensor:
    """Return whether each lost pixel, ``(N,)``, has a known one at an offset ``(2,)``."""
    return level.knows(level.hole.nonzero() + offset)


def _completed(offsets: Tensor, level: Level, generator: torch.Generator) -> Tensor:
    """Return the offsets and further ones, until each lost pixel has a known one.

    There are only as many as ``TABLE`` has room for. The first ones are kept.
    """
    lost = level.hole.nonzero()
    most = max(1, TABLE // len(lost))
    offsets = offsets[:most]
    known = level.known.nonzero()
    served = torch.zeros(len(lost), dtype=torch.bool)
    for offset in offsets:
        served |= _brings(level, offset)
    while len(offsets) < most and not served.all():
        left = (~served).nonzero()[:, 0]
        pixel = lost[left[int(torch.randint(len(left), (1,), generator=generator))]]
        nearest = known[((known - pixel) ** 2).sum(1).argmin()]
        offset = 2 * (nearest - pixel)  # as deep behind the border as the pixel is before it
        if not bool(_brings(level, offset)[(lost == pixel).all(1)]):
            offset = nearest - pixel
        offsets = torch.cat([offsets, offset[None]])
        served |= _brings(level, offset)
    return offsets
