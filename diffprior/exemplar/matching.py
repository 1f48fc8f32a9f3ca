"""Copies for a hole, matched to what they meet, from coarse to fine.

"Space-Time Completion of Video" (Wexler, Shechtman and Irani, 2007) asks that each patch which
meets the hole looks like a known one; "Video Inpainting of Complex Scenes" (Newson et al., 2014)
adds the texture around a patch to what is compared. The known patches are searched as in
"PatchMatch" (Barnes et al., 2009): good matches spread to the neighbors, and are varied at random.

Both papers average the matches that overlap. An average is smooth, and smooth patches are then the
most alike: the fill loses its texture. Here each lost pixel is a copy of one known pixel at every
level, namely as the match says that covers it with the most weight.
"""

import math
from dataclasses import dataclass

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from ..phases import part_done
from .levels import Level, coordinates, distance, levels, nearest

__all__ = ["Matching", "has_patches", "match"]

LEARNED_FROM = 4000  # patches that the principal components are learned from
CHUNK = 256  # patches that are searched exhaustively at a time
GATHERED = 32768  # patches that are gathered at a time
EXHAUSTIVE = 40_000_000  # pairs of patches, up to which all are compared
STEPS = (8, 4, 2, 1)  # px to the neighbors whose matches a patch tries
BLOCKS = 6  # along each side of an image of which half is left out
DRAWS = 8  # of such blocks
CENTERED = 8.0  # px^2, after which the weight of a match has faded to 1 / e off its middle
SELECTIVE = 5.0  # median costs, after which the weight of a match has faded to 1 / e
FARTHEST = 9.0  # square of the distance, in sizes of the hole, from which distance is all the same


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How copies are matched.

    Attributes:
        side: Of a patch, odd, in pixels.
        deepest: Depth of the hole at the coarsest level, in pixels.
        components: Principal components by which patches are compared.
        texture: Weight of the square differences of the texture around a patch.
        near: Cost of a square distance to the copied patch, in sizes of the hole.
        trust: Factor of the weight of a match for each pixel nearer to what is known.
        passes: Searches at the coarse levels, and at the two finest.
    """

    side: int = 5
    deepest: float = 3.5
    components: int = 24
    texture: float = 50.0
    near: float = 0.1
    trust: float = 2.0
    passes: tuple[int, int] = (6, 2)


def match(
    level: Level,
    generator: torch.Generator,
    settings: Matching | None = None,
    vary: bool = False,
) -> Tensor:
    """Return the sources of a hole: row and column of a pixel for each one, ``(H, W, 2)``.

    A pixel outside the hole is its own source, and the source of a lost one is known.

    Arguments:
        level: An image with values of about [0, 1] and its hole.
        generator: Of the random part of the search.
        vary: Whether half of the image is left out at the coarsest level, at random, so that
            another generator gives another layout.

    Raises:
        ValueError: If no whole patch is known.
    """
    settings = settings or Matching()
    if not level.hole.any():
        return coordinates(level.size)
    pyramid = levels(level, settings.deepest)
    while len(pyramid) > 1 and not _whole(pyramid[-1], settings.side).any():
        pyramid.pop()
    search: _Search | None = None
    if vary:
        pyramid[-1] = _half(pyramid[-1], settings.side, generator)
    done, passes = 0, sum(settings.passes[k < 2] for k in range(len(pyramid)))
    for number, part in reversed(list(enumerate(pyramid))):
        texture = _texture(part, 2 ** (len(pyramid) - 1 - number))
        known = _Known(part, texture, settings, generator)
        coarser, search = search, _Search(known, settings, generator)
        search.start(_from_border(known) if coarser is None else coarser.doubled())
        for _ in range(settings.passes[number < 2]):
            search.improve()
            part_done("matching patches", done := done + 1, passes)
    assert search is not None
    return search.sources


def has_patches(level: Level, side: int = Matching.side) -> bool:
    """Return whether any patch of a level is wholly known."""
    return bool(_whole(level, side).any())


def _half(level: Level, side: int, generator: torch.Generator) -> Level:
    """Return a level of which blocks are not known, chosen at random; some whole patch is."""
    for _ in range(DRAWS):
        blocks = torch.rand(1, 1, BLOCKS, BLOCKS, generator=generator)
        kept = F.interpolate(blocks, size=level.size, mode="nearest")[0, 0] < 0.5
        part = level._replace(known=level.known & kept)
        if _whole(part, side).any():
            return part
    return level


class _Known:
    """The patches of a level that are wholly known.

    Attributes:
        level: The image and its hole.
        texture: Mean absolute gradients around each pixel, ``(2, H, W)``.
        at: Row and column of the middle of each of N patches, ``(N, 2)``.
        number: The patch in the middle of each pixel, ``(H, W)``; -1 for none.
        features: What patches are compared by, ``(N, D)``.
    """

    def __init__(
        self, level: Level, texture: Tensor, settings: Matching, generator: torch.Generator
    ) -> None:
        self.texture, self.side = texture, settings.side
        self.level = level._replace(image=torch.where(level.known, level.image, 0.0))
        whole = _whole(level, settings.side)
        self.at = whole.nonzero()
        if not len(self.at):
            raise ValueError(f"no {settings.side} x {settings.side} pixels are known together")
        self.number = torch.full(level.size, -1)
        self.number[whole] = torch.arange(len(self.at))
        some = torch.randperm(len(self.at), generator=generator)[:LEARNED_FROM]
        patches = self.patches(self.level.image, self.at[some])
        self.mean = patches.mean(0)
        patches = patches - self.mean
        axes = torch.linalg.eigh(patches.T @ patches)[1]
        self.axes = axes[:, -settings.components :]
        # A difference of texture counts for all pixels of the patch.
        self.texture_scale = math.sqrt(settings.texture) * settings.side / 7
        self.features = self.described(self.level.image, texture, self.at)

    def patches(self, plane: Tensor, at: Tensor) -> Tensor:
        """Return the patches ``(N, C * side**2)`` of a plane ``(C, H, W)``, mirrored at its end."""
        wide = F.pad(plane[None], (self.side // 2,) * 4, mode="reflect")[0]
        windows = wide.unfold(1, self.side, 1).unfold(2, self.side, 1)
        return windows[:, at[:, 0], at[:, 1]].transpose(0, 1).flatten(1)

    def described(self, image: Tensor, texture: Tensor, at: Tensor) -> Tensor:
        """Return the features ``(N, D)`` of patches of an image ``(C, H, W)``."""
        parts = [
            (self.patches(image, part) - self.mean) @ self.axes
            for part in torch.split(at, GATHERED)
        ]
        around = texture[:, at[:, 0], at[:, 1]].T
        return torch.cat([torch.cat(parts), self.texture_scale * around], 1)

    def find(self, at: Tensor) -> Tensor:
        """Return the number of the patch in the middle of each pixel ``(N, 2)``; -1 for none."""
        height, width = self.level.size
        row, column = at.unbind(1)
        inside = (row >= 0) & (column >= 0) & (row < height) & (column < width)
        number = self.number[row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return torch.where(inside, number, -1)


class _Search:
    """The patches that meet the hole, and the known one that each matches.

    Attributes:
        at: Row and column of the middle of each of Q patches, ``(Q, 2)``.
        found: The number of its match among the known patches, ``(Q,)``.
        sources: The known pixel that each pixel is a copy of, ``(H, W, 2)``.
        image: The image with these copies, ``(C, H, W)``.
    """

    def __init__(self, known: _Known, settings: Matching, generator: torch.Generator) -> None:
        self.known, self.settings, self.generator = known, settings, generator
        hole = known.level.hole
        meets = _grown(hole, settings.side)
        self.at = meets.nonzero()
        self.number = torch.full(known.level.size, -1)
        self.number[meets] = torch.arange(len(self.at))
        depth = distance(hole)[self.at[:, 0], self.at[:, 1]]
        self.doubt = depth * math.log(settings.trust)
        self.size = max(4.0, 2 * float(depth.max()))
        self.found = torch.zeros(len(self.at), dtype=torch.long)
        self.sources = coordinates(known.level.size)
        self.image, self.texture = known.level.image, known.texture

    def start(self, middles: Tensor) -> None:
        """Take the known patches that are nearest to given middles ``(H, W, 2)`` as the matches."""
        height, width = self.known.level.size
        wanted = middles[self.at[:, 0], self.at[:, 1]]
        wanted = wanted.clamp_min(0).minimum(torch.tensor([height - 1, width - 1]))
        middles = nearest(self.known.number >= 0)[wanted[:, 0], wanted[:, 1]]
        self.found = self.known.find(middles)
        self._copy(torch.zeros(len(self.at)))

    def improve(self) -> None:
        """Look for better matches of the patches as they are now, and copy these."""
        features = self.known.described(self.image, self.texture, self.at)
        if len(self.at) * len(self.known.at) <= EXHAUSTIVE:
            self._offer(features, self._cheapest(features))
        else:
            self._spread(features)
            self._vary(features)
        cost = self._cost(features, self.found)
        self._copy(cost / (SELECTIVE * cost.median() + 1e-6))

    def doubled(self) -> Tensor:
        """Return the middles of the matches ``(2 H, 2 W, 2)`` at twice the size."""
        middles = coordinates(self.known.level.size)
        middles[self.at[:, 0], self.at[:, 1]] = self.known.at[self.found]
        fine = middles.repeat_interleave(2, 0).repeat_interleave(2, 1)
        height, width = fine.shape[:2]
        return 2 * fine + coordinates((height, width)) % 2

    def _cost(self, features: Tensor, candidates: Tensor) -> Tensor:
        """Return the cost ``(Q,)`` of a known patch for each one; infinite for -1."""
        number = candidates.clamp_min(0)
        unlike = (features - self.known.features[number]).square().sum(1)
        places = self.known.level.places
        away = (places(self.known.at[number]) - places(self.at)).square().sum(1) / self.size**2
        cost = unlike + self.settings.near * away.clamp_max(FARTHEST)
        return torch.where(candidates < 0, torch.inf, cost)

    def _offer(self, features: Tensor, candidates: Tensor) -> None:
        """Take the candidates ``(Q,)`` that match better."""
        better = self._cost(features, candidates) < self._cost(features, self.found)
        self.found = torch.where(better, candidates, self.found)

    def _cheapest(self, features: Tensor) -> Tensor:
        """Return the known patch ``(Q,)`` of the least cost, wherever it is."""
        known, level = self.known.features, self.known.level
        places = level.places(self.known.at) / self.size
        own = level.places(self.at) / self.size
        half = known.square().sum(1) / 2
        parts = zip(torch.split(features, CHUNK), torch.split(own, CHUNK), strict=True)
        found = []
        for part, at in parts:
            away = torch.cdist(at, places).square().clamp_max(FARTHEST)
            found.append((half - part @ known.T + self.settings.near / 2 * away).argmin(1))
        return torch.cat(found)

    def _spread(self, features: Tensor) -> None:
        """Offer each patch what continues the matches of its neighbors."""
        height, width = self.known.level.size
        size = torch.tensor([height, width])
        for step in STEPS:
            for way in ((0, step), (0, -step), (step, 0), (-step, 0)):
                beside = self.at + torch.tensor(way)
                inside = ((beside >= 0) & (beside < size)).all(1)
                beside = beside.clamp_min(0).minimum(size - 1)
                neighbor = torch.where(inside, self.number[beside[:, 0], beside[:, 1]], -1)
                middle = self.known.at[self.found[neighbor.clamp_min(0)]] - torch.tensor(way)
                candidates = self.known.find(middle)
                self._offer(features, torch.where(neighbor < 0, -1, candidates))

    def _vary(self, features: Tensor) -> None:
        """Offer each patch random ones, ever nearer to its match."""
        reach = float(max(self.known.level.size))
        while reach >= 1:
            shift = torch.rand(len(self.at), 2, generator=self.generator) * 2 - 1
            middle = self.known.at[self.found] + (reach * shift).round().long()
            self._offer(features, self.known.find(middle))
            reach /= 2

    def _copy(self, faint: Tensor) -> None:
        """Copy each lost pixel as the match says which covers it with the most weight.

        Arguments:
            faint: Minus the logarithm of the weight of each match, ``(Q,)``.
        """
        level = self.known.level
        size = torch.tensor(level.size)
        lost = level.hole.nonzero()
        beside = torch.stack(
            _around(lost, self.known.side), 2
        )  # where patches over it have middles
        inside = ((beside >= 0) & (beside < size)).all(2)
        beside = beside.clamp_min(0).minimum(size - 1)
        shift = beside - lost[:, None]
        over = self.number[beside[..., 0], beside[..., 1]]
        fainter = (faint + self.doubt)[over] + shift.square().sum(2) / CENTERED
        best = torch.where(inside, fainter, torch.inf).argmin(1)
        pick = torch.arange(len(lost))
        source = self.known.at[self.found[over[pick, best]]] - shift[pick, best]
        self.sources[lost[:, 0], lost[:, 1]] = source
        row, column = self.sources.unbind(2)
        self.image = level.image[:, row, column]
        self.texture = self.known.texture[:, row, column]


def _from_border(known: _Known) -> Tensor:
    """Return middles of matches ``(H, W, 2)``, found from the border of the hole inwards.

    Each lost pixel that touches what is filled takes the patch which is the most alike there.
    """
    level = known.level
    image, left = level.image.clone(), level.hole.clone()
    middles = coordinates(level.size)
    patches = known.patches(level.image, known.at)
    while left.any():
        edge = left & _grown(~left, 3)
        at = edge.nonzero()
        filled = known.patches((~left).to(image)[None], at).repeat(1, len(image))
        here = known.patches(image, at)
        unlike = filled @ patches.square().T - 2 * (filled * here) @ patches.T
        middle = known.at[unlike.argmin(1)]
        middles[edge] = middle
        image[:, edge] = level.image[:, middle[:, 0], middle[:, 1]]
        left &= ~edge
    return middles


def _texture(level: Level, window: int) -> Tensor:
    """Return the mean of the texture that is known within a window, ``(2, H, W)``."""
    known = level.known.to(level.texture)
    planes = torch.stack([*(level.texture * known), known], -1).numpy()
    side = window | 1
    mean = torch.from_numpy(cv2.boxFilter(planes, -1, (side, side), borderType=cv2.BORDER_CONSTANT))
    return (mean[..., :2] / mean[..., 2:].clamp_min(1e-3)).movedim(-1, 0)


def _whole(level: Level, side: int) -> Tensor:
    """Return the pixels ``(H, W)`` around which a patch is known and inside the image."""
    unknown = F.pad(~level.known, [side // 2] * 4, value=True)
    return F.max_pool2d(unknown[None, None].float(), side, stride=1)[0, 0] == 0


def _grown(area: Tensor, side: int) -> Tensor:
    """Return the pixels ``(H, W)`` around which a patch meets an area."""
    grown = F.max_pool2d(area[None, None].float(), side, stride=1, padding=side // 2)
    return grown[0, 0] > 0


def _around(at: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return rows and columns ``(N, side**2)`` of the pixels of patches around ``(N, 2)``."""
    offset = coordinates((side, side)).flatten(0, 1) - side // 2
    around = at[:, None] + offset
    return around[..., 0], around[..., 1]
