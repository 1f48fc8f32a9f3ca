"""Shift maps: which known pixel each lost pixel is a copy of.

"Shift-Map Image Editing" (Pritch et al., 2009): each lost pixel gets an offset; the cost is that of
the seams where offsets change and at the border of the hole. The labels are the dominant offsets
(He and Sun, 2012). At the coarsest level a guide is added: what is copied should have the color and
the contrast that the surroundings lead to expect, both without their detail.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..classical.fill import pyramid as pull_push
from .labeling import Energy, Lattice, minimize
from .levels import Level, coordinates, nearest

__all__ = ["ShiftMap", "copied", "doubled", "shift_map"]

IMPOSSIBLE = 1e4  # cost of an offset that leads to no known pixel
UNSEEN = 0.5  # cost at a seam of a pixel that is not known
CONTEXT = 3  # px round a lost pixel in which known ones are compared with those round its source
BLUR = 2.0  # px; standard deviation of what a guide compares
NEIGHBORS = ((0, 1), (0, -1), (1, 0), (-1, 0))
SEAM = 2  # px round a seam in which a finer level moves it
PAIRS = 2**25  # of candidates of neighbors whose costs are held, about: 0.13 GB in each direction
AT_ONCE = 2**20  # of them whose costs are computed at a time


@dataclass(frozen=True, kw_only=True)
class ShiftMap:
    """How a shift map is found.

    Attributes:
        deepest: Depth of the hole at the coarsest level, in pixels.
        guide: Weight of the color that is expected.
        contrast: Weight of the contrast that is expected, over that of the color.
        texture: Weight of the texture at a seam, over that of the color.
        switch: Cost of a seam, however well it fits: more of it makes larger copies.
        iterations: Passes at the coarsest level.
    """

    deepest: float = 14.0
    guide: float = 1.0
    contrast: float = 2.0
    texture: float = 2.0
    switch: float = 0.001
    iterations: int = 16


def shift_map(pyramid: Sequence[Level], labels: Tensor, settings: ShiftMap) -> Tensor:
    """Return the sources of a hole: row and column of a pixel for each one, ``(H, W, 2)``.

    A pixel outside the hole is its own source, and the source of a lost one is known.

    Arguments:
        pyramid: An image with values of about [0, 1] and its hole, and the halves of these.
        labels: Offsets ``(K, 2)`` at the coarsest level. A lost pixel that has no known one at any
            of them becomes a copy of the nearest known pixel.
    """
    *finer, coarsest = pyramid
    everywhere = Lattice(coarsest.hole)
    candidates = _candidates(coarsest, everywhere, labels)
    offsets = torch.zeros(*coarsest.size, 2, dtype=torch.long)
    guide = _guide(coarsest, settings) if settings.guide else None
    energy = _Costs(coarsest, settings).energy(everywhere, candidates, offsets, guide)
    offsets = _chosen(offsets, energy, candidates, settings.iterations)
    for fine in reversed(finer):
        offsets = _refined(fine, offsets, settings)
    return _sources(pyramid[0], offsets)


def copied(image: Tensor, sources: Tensor) -> Tensor:
    """Return the image ``(C, H, W)`` with each pixel that of its source, ``(H, W, 2)``."""
    return image[:, sources[..., 0], sources[..., 1]]


def doubled(level: Level, sources: Tensor) -> Tensor:
    """Return the sources ``(H, W, 2)`` of a level from those of the level of half its size."""
    return _sources(level, _twice(level, sources - coordinates(sources.shape[:2])))


def _candidates(level: Level, lattice: Lattice, labels: Tensor) -> Tensor:
    """Return the offsets that each lost pixel chooses from, ``(N, K, 2)``: all, or the first few.

    Where little is known, it takes many offsets to reach it from everywhere. Then those come first
    that lead from this pixel to a known one.
    """
    most = max(1, math.isqrt(PAIRS // max(1, len(lattice))))
    if len(labels) <= most:
        return labels.expand(len(lattice), -1, -1)
    known = torch.stack([level.knows(lattice.at + offset) for offset in labels], 1)
    first = known.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
    return labels[first]


def _refined(level: Level, offsets: Tensor, settings: ShiftMap) -> Tensor:
    """Return the offsets of a level from those of half its size: seams move by a few pixels."""
    twice = _twice(level, offsets)
    lattice = Lattice(_seams(level.hole, twice) & level.hole)
    if not len(lattice):
        return twice
    row, column = (lattice.at + SEAM).unbind(1)
    padded = F.pad(twice.movedim(-1, 0)[None].float(), (SEAM,) * 4, mode="replicate")
    near = padded[0].movedim(0, -1).long()
    own = near[row, column]
    moves = [own, *(own + torch.tensor(move) for move in NEIGHBORS)]
    others = [near[row + SEAM * i, column + SEAM * j] for i, j in NEIGHBORS]
    candidates = torch.stack(moves + others, 1)
    energy = _Costs(level, settings).energy(lattice, candidates, twice, None)
    return _chosen(twice, energy, candidates, 4)


def _twice(level: Level, offsets: Tensor) -> Tensor:
    """Return the offsets ``(H, W, 2)`` of a level that are twice those of half its size."""
    height, width = level.size
    twice = 2 * offsets.repeat_interleave(2, 0).repeat_interleave(2, 1)[:height, :width]
    twice[~level.hole] = 0
    return twice


def _seams(hole: Tensor, offsets: Tensor) -> Tensor:
    """Return the pixels ``(H, W)`` near a change of offset, or near the border of the hole."""
    change = torch.zeros_like(hole)
    change[1:] |= (offsets[1:] != offsets[:-1]).any(-1) | (hole[1:] != hole[:-1])
    change[:, 1:] |= (offsets[:, 1:] != offsets[:, :-1]).any(-1) | (hole[:, 1:] != hole[:, :-1])
    near = F.max_pool2d(change[None, None].float(), 2 * SEAM + 1, stride=1, padding=SEAM)
    return near[0, 0] > 0


def _chosen(offsets: Tensor, energy: Energy, candidates: Tensor, iterations: int) -> Tensor:
    """Return the offsets with those of a lattice minimized over the candidates ``(N, K, 2)``."""
    labels = minimize(energy, iterations)
    out = offsets.clone()
    at = energy.lattice.at
    out[at[:, 0], at[:, 1]] = candidates[torch.arange(len(at)), labels]
    return out


def _sources(level: Level, offsets: Tensor) -> Tensor:
    """Return the sources ``(H, W, 2)`` of offsets, in place of unknown ones the nearest known."""
    grid = coordinates(level.size)
    sources = torch.where(level.hole[..., None], grid + offsets, grid)
    found = level.knows(sources) | ~level.hole
    if found.all():
        return sources
    return torch.where(found[..., None], sources, nearest(level.known))


class _Taken(NamedTuple):
    """Features ``(..., F)`` of places in an image, and whether each is known."""

    values: Tensor
    known: Tensor


class _Costs:
    """The costs of offsets at one level."""

    def __init__(self, level: Level, settings: ShiftMap) -> None:
        self.level = level
        self.settings = settings
        self.features = _features(level, settings.texture)

    def energy(
        self, lattice: Lattice, candidates: Tensor, offsets: Tensor, guide: Tensor | None
    ) -> Energy:
        """Return the energy of candidate offsets.

        Arguments:
            lattice: The pixels that choose.
            candidates: The offsets that each may have, ``(N, K, 2)``.
            offsets: Those of all pixels, ``(H, W, 2)``, for the ones that do not choose.
            guide: Features ``(F, H, W)`` without detail, that should change little.
        """
        own = self._take(lattice.at[:, None] + candidates)
        single = torch.where(own.known, 0.0, IMPOSSIBLE)
        self._add_context(single, lattice, candidates)
        self._add_fixed(single, own, lattice, candidates, offsets)
        if guide is not None:
            row, column = lattice.at.unbind(1)
            there = _at(guide, self._clamped(lattice.at[:, None] + candidates))
            expected = guide[:, row, column].T[:, None]
            single += self.settings.guide * _square(there - expected)
        right = self._pairs(own, lattice, candidates, lattice.right, (0, 1))
        down = self._pairs(own, lattice, candidates, lattice.down, (1, 0))
        return Energy(lattice, single, right, down)

    def _add_context(self, single: Tensor, lattice: Lattice, candidates: Tensor) -> None:
        """Add how the known pixels round a lost one differ from those round its source."""
        reach = range(-CONTEXT, CONTEXT + 1)
        shifts = [(i, j) for i in reach for j in reach if 0 < i * i + j * j <= CONTEXT**2 + 1]
        for shift in shifts:
            squared = shift[0] ** 2 + shift[1] ** 2
            weight = 2.0 if squared == 1 else 2 * math.exp(-2 * squared / CONTEXT**2)
            at = lattice.at + torch.tensor(shift)
            known = self._take(at)
            some = known.known.nonzero()[:, 0]
            if len(some):
                source = self._take(at[some, None] + candidates[some])
                cost = _square(source.values - known.values[some, None])
                single[some] += weight * torch.where(source.known, cost, UNSEEN)

    def _add_fixed(
        self,
        single: Tensor,
        own: _Taken,
        lattice: Lattice,
        candidates: Tensor,
        offsets: Tensor,
    ) -> None:
        """Add the cost of seams to lost neighbors that do not choose."""
        height, width = self.level.size
        chooses = torch.zeros(height, width, dtype=torch.bool)
        chooses[lattice.at[:, 0], lattice.at[:, 1]] = True
        fixed = self.level.hole & ~chooses
        if not fixed.any():
            return
        for shift in NEIGHBORS:
            at = lattice.at + torch.tensor(shift)
            row, column = self._clamped(at).unbind(-1)
            inside = (at == self._clamped(at)).all(-1)
            some = (inside & fixed[row, column]).nonzero()[:, 0]
            if not len(some):
                continue
            other = offsets[row[some], column[some]]
            here = self._take(lattice.at[some] + other)
            there = self._take(at[some] + other)
            mine = self._take(at[some, None] + candidates[some])
            first = _seam(_rows(own, some), _Taken(here.values[:, None], here.known[:, None]))
            second = _seam(mine, _Taken(there.values[:, None], there.known[:, None]))
            same = (candidates[some] == other[:, None]).all(-1)
            single[some] += torch.where(same, 0.0, first + second + self.settings.switch)

    def _pairs(
        self,
        own: _Taken,
        lattice: Lattice,
        candidates: Tensor,
        neighbor: Tensor,
        shift: tuple[int, int],
    ) -> Tensor:
        """Return the costs of pairs of candidates of neighbors, ``(N, K, K)``."""
        count, labels = candidates.shape[:2]
        move = torch.tensor(shift)
        costs = own.values.new_empty(count, labels, labels)
        for part in torch.split(torch.arange(count), max(1, AT_ONCE // labels**2)):
            at, mine = lattice.at[part, None], candidates[part]
            some = neighbor[part].clamp_max(count - 1)
            theirs = candidates[some]
            here = _seams_of(_rows(own, part), self._take(at + theirs))
            there = _seams_of(self._take(at + move + mine), _rows(own, some))
            same = (mine[:, :, None] == theirs[:, None]).all(-1)
            free = same | (neighbor[part] == count)[:, None, None]
            costs[part] = (here + there + self.settings.switch).masked_fill_(free, 0.0)
        return costs

    def _take(self, at: Tensor) -> _Taken:
        """Return the features at places ``(..., 2)``."""
        clamped = self._clamped(at)
        inside = (clamped == at).all(-1)
        known = inside & self.level.known[clamped[..., 0], clamped[..., 1]]
        return _Taken(_at(self.features, clamped), known)

    def _clamped(self, at: Tensor) -> Tensor:
        return at.clamp_min(0).minimum(torch.tensor(self.level.size) - 1)


def _at(x: Tensor, at: Tensor) -> Tensor:
    """Return the values ``(..., F)`` of ``(F, H, W)`` at places ``(..., 2)``."""
    return x[:, at[..., 0], at[..., 1]].movedim(0, -1)


def _rows(taken: _Taken, index: Tensor) -> _Taken:
    return _Taken(taken.values[index], taken.known[index])


def _square(x: Tensor) -> Tensor:
    return (x * x).sum(-1)


def _seam(a: _Taken, b: _Taken) -> Tensor:
    """Return the squared difference of two places, or ``UNSEEN`` where one is not known."""
    return torch.where(a.known & b.known, _square(a.values - b.values), UNSEEN)


def _seams_of(a: _Taken, b: _Taken) -> Tensor:
    """Return the same for all pairs of places ``(N, K)``: ``(N, K, K)``."""
    product = a.values @ b.values.transpose(1, 2)
    distance = _square(a.values)[:, :, None] + _square(b.values)[:, None] - 2 * product
    both = a.known[:, :, None] & b.known[:, None]
    return torch.where(both, distance.clamp_min(0), UNSEEN)


def _features(level: Level, texture: float) -> Tensor:
    """Return what a seam compares, ``(C + 4, H, W)``: colors, their mean's gradient, texture."""
    whole = pull_push(level.image[None], ~level.known[None, None])
    gray = whole[0].mean(0, keepdim=True)
    across = F.pad(gray[:, :, 1:] - gray[:, :, :-1], (0, 1))
    along = F.pad(gray[:, 1:] - gray[:, :-1], (0, 0, 0, 1))
    return torch.cat([level.image, across, along, texture * level.texture])


def _guide(level: Level, settings: ShiftMap) -> Tensor:
    """Return color and contrast without detail, ``(F, H, W)``, interpolated into the hole."""
    from kornia.filters import gaussian_blur2d

    expected = torch.cat([level.image, settings.contrast * level.texture])
    whole = pull_push(expected[None], ~level.known[None, None])
    side = 2 * int(2.5 * BLUR) + 1
    low: Tensor = gaussian_blur2d(whole, (side, side), (BLUR, BLUR), "replicate")
    return low[0]
