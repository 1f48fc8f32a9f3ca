"""Wide holes filled by copies: several tries, the best of them, and a blend."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..classical.islands import Island, islands
from ..errors import ImageError
from .blend import blend
from .judge import fault
from .levels import Level, coordinates, levels
from .matching import Matching, has_patches, match
from .offsets import dominant_offsets, some_offsets
from .references import Reference, has_alike
from .shift_map import ShiftMap, doubled, shift_map

__all__ = ["TRIES", "complete", "reach"]


class Try(NamedTuple):
    """One way to choose the copies.

    Attributes:
        setting: How they are chosen.
        mirrored: Whether they may be mirrored, left to right.
    """

    setting: Matching | ShiftMap
    mirrored: bool = False


TRIES = (  # which of them suits an image, the results tell
    Try(Matching(near=0.3)),
    Try(Matching(texture=200.0), mirrored=True),
    Try(Matching(near=0.3), mirrored=True),
    Try(ShiftMap(contrast=5.0)),
    Try(Matching(near=0.03)),
)
OFFSETS = 60  # dominant ones
SPARE = 1.2  # of the longer side of a hole: what is looked at round it
LEAST_SPARE = 64  # px
LARGE = 40_000  # pixels of a hole, above which its copies are chosen at half the size
GAP = 8  # px at least between an image and those beside it
ALIGNED = 64  # px; these begin at a multiple of it, so that their halves are like its own

Box = tuple[slice, slice]  # rows and columns


def complete(
    image: Tensor,
    hole: Tensor,
    *,
    known: Tensor | None = None,
    tries: int = 4,
    seed: int = 0,
    references: Sequence[Reference] = (),
    callback: Callable[[float], None] | None = None,
) -> Tensor:
    """Return an image with its hole filled with copies of what surrounds it.

    Each hole is filled from a window round it; holes whose windows meet are filled together.

    Arguments:
        image: Values of about [0, 1], ``(C, H, W)``; only the known ones matter.
        hole: True where to fill, ``(H, W)``.
        known: True where a pixel may be copied, ``(H, W)``; by default all outside the hole.
        tries: How many fills are made, of which the best is returned. A single one is drawn at
            random from those that suit the image.
        seed: Another one gives another fill.
        references: Further images whose patches may be copied.
        callback: Called with the share of the work that is done.

    Raises:
        ImageError: If no pixel is known.
    """
    known = ~hole if known is None else known & ~hole
    if not known.any():
        raise ImageError("no pixel is known, so there is nothing to copy")
    out = image.clone()
    boxes = _windows(hole, known)
    if callback is not None and not boxes:
        callback(1.0)
    for k, box in enumerate(boxes):
        part = (slice(None), *box)
        level = Level.of(image[part], hole[box], known[box])
        beside = [_same_place(reference, box) for reference in references]
        beside = [x for x in beside if has_alike(image[part], hole[box], known[box], x)]

        def report(share: float, k: int = k) -> None:
            if callback is not None:
                callback((k + share) / len(boxes))

        height, width = level.size
        joined = _joined([level, *map(_known, beside)])
        pool = joined if beside else _joined([joined, joined.mirrored()])
        filled = _filled(pool, joined.size[1], tries, seed, report)
        out[part] = torch.where(hole[box], filled[:, :height, :width], image[part])
    return out


def _filled(
    pool: Level, width: int, tries: int, seed: int, report: Callable[[float], None]
) -> Tensor:
    """Return a fill of a hole, blended; the copies of a large one are chosen at reduced size.

    Arguments:
        pool: The hole and what may be copied.
        width: The columns of it that are not mirrored.
    """
    finer = []
    reduced = pool
    while int(reduced.hole.sum()) > LARGE:
        finer.append(reduced)
        half = reduced.halved()
        reduced = half if half.known.any() else reduced.halved(strict=False)
        width //= 2
    generator = torch.Generator().manual_seed(seed)
    sources, out = _best(reduced, width, tries, generator, report)
    for fine in reversed(finer):
        sources = doubled(fine, sources)
    if finer:
        out = blend(pool, sources)
    report(1.0)
    return out


def _best(
    pool: Level,
    width: int,
    tries: int,
    generator: torch.Generator,
    report: Callable[[float], None],
) -> tuple[Tensor, Tensor]:
    """Return the sources ``(H, W, 2)`` of the best of several fills, and that fill blended.

    Arguments:
        pool: What may be copied.
        width: The columns of it that are not mirrored.
    """
    plain = pool.left(width)
    all_tries = [one for one in TRIES if not one.mirrored or pool.size[1] > width]
    chosen = [all_tries[k % len(all_tries)] for k in range(tries)]
    if tries == 1:
        chosen = [all_tries[int(torch.randint(len(all_tries), (1,), generator=generator))]]
    if not has_patches(plain):
        chosen = [Try(ShiftMap())]
    layouts = _Layouts(plain, generator)
    best, least = None, torch.inf
    for k, (setting, mirrored) in enumerate(chosen):
        vary = tries == 1 or k >= len(all_tries)
        sources = coordinates(pool.size)
        if isinstance(setting, ShiftMap):
            sources[:, :width] = layouts.shifted(setting, vary)
        elif mirrored:
            sources = match(pool, generator, setting, vary)
        else:
            sources[:, :width] = match(plain, generator, setting, vary)
        blended = blend(pool, sources)
        score = fault(pool, sources, blended) if len(chosen) > 1 else 0.0
        if best is None or score < least:
            best, least = (sources, blended), score
        report((k + 1) / (len(chosen) + 1))
    assert best is not None
    return best


class _Layouts:
    """Shift maps of one level, which share their pyramids and offsets."""

    def __init__(self, level: Level, generator: torch.Generator) -> None:
        self.level = level
        self.generator = generator
        self.stages: dict[float, tuple[list[Level], Tensor]] = {}

    def shifted(self, setting: ShiftMap, vary: bool) -> Tensor:
        """Return the sources ``(H, W, 2)`` of a shift map.

        Arguments:
            vary: Whether half of the offsets are left out at random.
        """
        if setting.deepest not in self.stages:
            pyramid = levels(self.level, setting.deepest)
            offsets = dominant_offsets(pyramid[-1], OFFSETS, self.generator)
            self.stages[setting.deepest] = pyramid, offsets
        pyramid, offsets = self.stages[setting.deepest]
        if vary:
            offsets = some_offsets(offsets, pyramid[-1], self.generator)
        return shift_map(pyramid, offsets, setting)


def _windows(hole: Tensor, known: Tensor) -> list[Box]:
    """Return the windows in which the holes ``(H, W)`` are filled; no two of them meet."""
    boxes = _merged([_around(island, hole.shape) for island in islands(hole, 0)])
    if not all(bool(known[box].any()) for box in boxes):
        return [(slice(0, hole.shape[0]), slice(0, hole.shape[1]))]
    return boxes


def reach(rows: slice, columns: slice) -> int:
    """Return how far what surrounds a hole in these rows and columns is looked at, in pixels."""
    longest: int = max(rows.stop - rows.start, columns.stop - columns.start)
    return max(LEAST_SPARE, round(SPARE * longest))


def _around(island: Island, size: Sequence[int]) -> Box:
    spare = reach(island.rows, island.columns)
    spans = zip((island.rows, island.columns), size, strict=True)
    rows, columns = (slice(max(0, s.start - spare), min(n, s.stop + spare)) for s, n in spans)
    return rows, columns


def _merged(boxes: list[Box]) -> list[Box]:
    """Return boxes that do not meet, of which each holds those that it replaces."""
    merged: list[Box] = []
    for box in boxes:
        while met := next((other for other in merged if _meet(box, other)), None):
            merged.remove(met)
            box = _hull(box[0], met[0]), _hull(box[1], met[1])
        merged.append(box)
    return merged


def _meet(a: Box, b: Box) -> bool:
    return all(x.start < y.stop and y.start < x.stop for x, y in zip(a, b, strict=True))


def _hull(a: slice, b: slice) -> slice:
    return slice(min(a.start, b.start), max(a.stop, b.stop))


def _same_place(reference: Reference, box: Box) -> Tensor:
    """Return the part of another image where a box lies in it, in the size of the box."""
    row, column = ((span.start + span.stop - 1) / 2 for span in box)
    there = reference.middle(row, column)
    spans = []
    for span, middle, own in zip(box, there, reference.image.shape[1:], strict=True):
        wanted = min(own, span.stop - span.start)
        start = min(max(0, round(middle - (wanted - 1) / 2)), own - wanted)
        spans.append(slice(start, start + wanted))
    return reference.image[:, spans[0], spans[1]]


def _joined(parts: Sequence[Level]) -> Level:
    """Return levels side by side; the width is a multiple of ``ALIGNED``."""
    height = max(part.size[0] for part in parts)
    planes = []
    for plane in zip(*parts, strict=True):
        padded = []
        for x in plane:
            below = (0, height - x.shape[-2]) if x.ndim > 1 else ()
            padded.append(F.pad(x, (0, GAP + -(x.shape[-1] + GAP) % ALIGNED, *below)))
        planes.append(torch.cat(padded, -1))
    return Level(*planes)


def _known(image: Tensor) -> Level:
    return Level.of(image, torch.zeros(image.shape[1:], dtype=torch.bool))
