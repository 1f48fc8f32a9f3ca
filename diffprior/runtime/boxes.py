"""Holes far apart, and thin ones in large images: box after box, at the cost of the holes alone.

A scratch across a photograph has a bounding box as large as the image, and so have two spots in two
corners. Their pixels are few, and each depends on what is near. So holes near each other have a box
of their own. Where that is large and the holes are thin, it is cut into cells, and each cell with a
part of a hole is solved with a margin round it. What earlier boxes filled is known to the later
ones, and a hole that crosses several cells goes on where it ended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..batching import Callback, part_callback
from ..classical.islands import Island, islands
from ..exemplar.completion import reach
from ..io.arrays import Images
from ..phases import phase
from ..priors.base import Prior
from ..random import stream_ids
from .memory import WHOLE
from .places import placed
from .problem import Problem, ProblemFor, ProblemInParts, Stated, Window
from .report import join_reports
from .results import Result, join_samples
from .settings import Settings

__all__ = ["MARGIN", "Box", "InBoxes", "boxes_of", "fits_boxes", "solve_in_boxes", "window_of"]

MARGIN = 96  # px round a hole that are looked at: the network's memory of what surrounds it
LEAST_SIDE = 256  # px of what is looked at
CELLS = (1024 - 2 * MARGIN, 512 - 2 * MARGIN)  # px; sides of what a box fills, wide or narrow
STROKE = 512  # px; the same of a wide stroke, such as a wire, with half of it as the margin
LARGEST = 2**23  # pixels that are looked at for a wide hole; a stroke that asks for more is cut
LEAST_KNOWN = 0.5  # of the box of a cell; below it, a hole is not thin

Values = np.ndarray[Any, Any]
Solve = Callable[[str, Images, Stated, Settings], Result[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Box:
    """A part of an image that is filled, and what is looked at to fill it.

    Attributes:
        cell: The part, the bounding box of its hole.
        hole: The pixels to fill in it, ``(h, w)`` of bool.
        seen: What is looked at.
    """

    cell: Window
    hole: Tensor
    seen: Window

    @property
    def inner(self) -> Window:
        """The cell within what is seen."""
        top, left = self.seen.rows.start, self.seen.columns.start
        rows, columns = self.cell
        return Window(
            rows=slice(rows.start - top, rows.stop - top),
            columns=slice(columns.start - left, columns.stop - left),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class InBoxes:
    """A problem of large images that can be solved box by box.

    Attributes:
        soft: Weights of the result over the images, ``(B, 1, H, W)`` in [0, 1].
        boxes: The boxes of each image; None for one that is solved whole.
        page: States the problem of one image, or of samples of it: from what is seen of it, the
            weights there, its number and the window that is seen.
        whole: States the problem of the whole images, for priors that need them.
        opaque: Whether the result loses the transparency of the images.
    """

    soft: Tensor
    boxes: Sequence[Sequence[Box] | None]
    page: Callable[[Images, Tensor, int, Window], Stated]
    whole: Callable[[], Stated]
    opaque: bool = False


def window_of(hole: Tensor, wide: Tensor) -> Window:
    """Return the box of a hole ``(H, W)`` with what is looked at round it, or ``LEAST_SIDE`` wide.

    Arguments:
        wide: The part of the hole that is wide, ``(H, W)`` of bool.
    """
    if not hole.any():
        return Window(*(slice(0, length) for length in hole.shape))
    return _box(Island.of(hole), wide).seen


def boxes_of(hole: Tensor, unknown: Tensor, wide: Tensor) -> list[list[Box] | None]:
    """Return the boxes of each image; None for a small one, of which they would save nothing.

    Arguments:
        hole: The pixels to fill, ``(B, 1, H, W)`` of bool.
        unknown: Those, and all others of which nothing is known.
        wide: Those of holes that are to be filled whole, and from further around.
    """
    phase("finding windows")
    planes = zip(hole[:, 0], unknown[:, 0], wide[:, 0], strict=True)
    return [_boxes(*each) for each in planes]


def _boxes(hole: Tensor, unknown: Tensor, wide: Tensor) -> list[Box] | None:
    if not hole.any():
        return None
    everything = Island.of(hole)
    apart = [box for island in islands(hole, MARGIN) for box in _boxes_of(island, unknown, wide)]
    whole = [_box(everything, wide)]
    together = whole if wide.any() else _boxes_of(everything, unknown, wide)
    best = min((apart, together), key=_area)
    saves = _area(best) < _area(whole)
    return best if saves or hole.numel() > WHOLE else None  # a large image is not copied whole


def _boxes_of(island: Island, unknown: Tensor, wide: Tensor) -> list[Box]:
    """Return the boxes of an island: one, or of a large one that is thin the cells that it meets.

    Of wide and narrow cells, those are taken that have less to be looked at.
    """
    whole = [_box(island, wide)]
    is_wide = bool((wide[island.rows, island.columns] & island.hole).any())
    if _area(whole) <= (LARGEST if is_wide else WHOLE):
        return whole
    if is_wide:
        cut = [_cells(island, STROKE, partial(_box, wide=wide, most=STROKE // 2))]
    else:
        cut = [_cells(island, side, partial(_box, wide=wide)) for side in CELLS]
    return min([*(boxes for boxes in cut if _are_thin(boxes, unknown)), whole], key=_area)


def _cells(island: Island, side: int, box_of: Callable[[Island], Box]) -> list[Box]:
    """Return the boxes of the cells of this side that an island meets."""
    height, width = island.hole.shape
    boxes = []
    for y in range(0, height, side):
        for x in range(0, width, side):
            part = island.hole[y : y + side, x : x + side]
            if part.any():
                cell = Island.of(part, island.rows.start + y, island.columns.start + x)
                boxes.append(box_of(cell))
    return boxes


def _are_thin(boxes: Sequence[Box], unknown: Tensor) -> bool:
    """Return whether enough is known of what is looked at."""
    return all(float(box.seen.cut(unknown).float().mean()) <= 1 - LEAST_KNOWN for box in boxes)


def _box(island: Island, wide: Tensor, most: int | None = None) -> Box:
    """Return the box of an island.

    Arguments:
        most: The largest margin of a wide part, in pixels.
    """
    cell = Window(island.rows, island.columns)
    deep = cell.cut(wide) & island.hole
    margin = MARGIN
    if deep.any():
        wanted = reach(*Island.of(deep)[:2])
        margin = max(MARGIN, wanted if most is None else min(most, wanted))
    seen = Window(*(_with_margin(s, n, margin) for s, n in zip(cell, wide.shape, strict=True)))
    return Box(cell=cell, hole=island.hole, seen=seen)


def _with_margin(lost: slice, length: int, margin: int) -> slice:
    """Return the rows, or columns, to look at, of those that are lost."""
    spare = max(margin, (LEAST_SIDE - (lost.stop - lost.start) + 1) // 2)
    return slice(max(0, lost.start - spare), min(length, lost.stop + spare))


def _area(boxes: Sequence[Box]) -> int:
    """Return the pixels that are looked at."""
    return sum(box.seen.size[0] * box.seen.size[1] for box in boxes)


def fits_boxes(prior: Prior, settings: Settings) -> bool:
    """Return whether a call may be solved in boxes: its prior is one of pixels alone."""
    return not (prior.latent or prior.sees_image) and settings.control_image is None


def solve_in_boxes(
    task: str, images: Images, stated: InBoxes, prior: Prior, settings: Settings, solve: Solve
) -> Result[Any]:
    """Return the result of a problem in boxes. Each sample of an image goes on from its own fills.

    Arguments:
        prior: The prior of the call, as it was opened.
        solve: Solves the problem of one box.
    """
    n = settings.samples
    canvas = np.repeat(images.values, n, axis=0)
    like = replace(images, alpha=None) if stated.opaque else images
    set_already = ("device", "backend", "lora", "lora_scale", "controlnet")
    plain: dict[str, Any] = dict.fromkeys(set_already)
    opened = replace(settings, **plain, prior=prior, offload=False)
    reports = []
    for i, name in enumerate(stream_ids(settings.ids, len(images))):
        callback = part_callback(settings.callback, i, len(images))
        own = replace(opened, ids=[name], callback=callback)
        samples = canvas[i * n : (i + 1) * n]
        reports.append(_fill(samples, like, i, stated, partial(solve, task), own))
    report = join_reports(reports, range(len(images)))
    return join_samples(images, canvas, stated.soft, report, stated.opaque)


def _fill(
    canvas: Values,
    images: Images,
    i: int,
    stated: InBoxes,
    solve: Callable[[Images, Stated, Settings], Result[Any]],
    settings: Settings,
) -> dict[str, Any]:
    """Fill the samples of one image, and return its report.

    It is the same in any company: the noise of a box is named by its image, its number there, and
    from the second box on by its sample. A method that gives one result for all samples gives it
    in the first box; one canvas is filled then, and repeated.

    Arguments:
        canvas: The samples as they are now, ``(n, H, W, C)``.
        i: The number of the image.
    """
    own = stated.boxes[i]
    soft = stated.soft[i : i + 1]
    boxes = [_everything(soft)] if own is None else own
    assert settings.ids is not None
    name = settings.ids[0]
    left = torch.ones(soft.shape, dtype=torch.bool)  # False where a hole is filled by now
    drawn = canvas[:1]  # the samples that differ
    reports: list[dict[str, Any]] = []
    for k, box in enumerate(boxes):
        part = _part(images, drawn, i, box.seen)
        weights = (box.seen.cut(soft) * box.seen.cut(left)).expand(len(drawn), -1, -1, -1)
        page = stated.page(part, weights, i, box.seen)
        callback = _share_of(settings.callback, boxes, k)
        call = replace(settings, callback=callback, ids=[f"{name} {k}" if len(boxes) > 1 else name])
        if k > 0:
            ids = [f"{name} {k} {j}" for j in range(len(drawn))] if len(drawn) > 1 else call.ids
            page, call = _as_sample(page, settings.samples), replace(call, samples=1, ids=ids)
        with placed(box.seen):
            result = solve(part, page, call)
        fills = np.concatenate(result.samples)
        if k == 0:
            drawn = canvas[: result.report.get("samples", 1)]
        _paste(fills[: len(drawn)], drawn, box)
        box.cell.cut(left)[0, 0][box.hole] = False
        reports.append(dict(result.report))
    canvas[len(drawn) :] = drawn[:1]
    if len(boxes) == 1:
        return reports[0]
    report = join_reports(reports, [0])  # the noise level of the image is that of each box
    return report | {"samples": len(drawn), "boxes": len(boxes)}


def _share_of(callback: Callback | None, boxes: Sequence[Box], k: int) -> Callback | None:
    """Return the callback of box number k: a large box is more of the work than a small one."""
    if callback is None:
        return None
    before, own, total = _area(boxes[:k]), _area([boxes[k]]), _area(boxes)
    return lambda x, share: callback(x, (before + share * own) / total)


def _everything(soft: Tensor) -> Box:
    """Return a whole image of these weights, ``(1, 1, H, W)``, as its only box."""
    window = Window(*(slice(0, length) for length in soft.shape[2:]))
    return Box(cell=window, hole=soft[0, 0] > 0, seen=window)


def _part(images: Images, samples: Values, i: int, seen: Window) -> Images:
    """Return a part of the samples of an image; what is made of it are plain values."""
    values = samples[:, seen.rows, seen.columns]
    alpha = images.alpha
    if alpha is not None:
        shape = (len(samples), *seen.size)
        alpha = np.broadcast_to(alpha[i : i + 1, seen.rows, seen.columns], shape)
    return Images(values=values, alpha=alpha, rebuild=lambda values, alpha: values)


def _paste(fills: Values, samples: Values, box: Box) -> None:
    """Put what was drawn into the holes of a box."""
    hole = box.hole.numpy()
    inner = fills[:, box.inner.rows, box.inner.columns]
    samples[:, box.cell.rows, box.cell.columns][:, hole] = inner[:, hole]


def _as_sample(stated: Stated, samples: int) -> Stated:
    """Return a problem of which one result is one of so many samples."""
    if samples == 1:
        return stated
    if isinstance(stated, Problem):
        return replace(stated, one=stated.several, latent=(stated.latent[1],) * 2)
    if isinstance(stated, ProblemFor):
        make = stated.problem
        return replace(
            stated, problem=lambda prior: cast(Problem, _as_sample(make(prior), samples))
        )
    make_parts = stated.parts
    return ProblemInParts(
        parts=lambda prior: [
            part._replace(stated=cast(ProblemFor, _as_sample(part.stated, samples)))
            for part in make_parts(prior)
        ]
    )
