"""Large images with thin holes: box after box, so that memory and time are those of the holes.

A scratch across a photograph has a bounding box as large as the image. Its pixels are few, and each
depends on what is near. So the image is cut into cells, and each cell with a part of a hole is
solved with a margin round it. What earlier boxes filled is known to the later ones, and a hole that
crosses several cells goes on where it ended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from ..batching import part_callback
from ..io.arrays import Images
from ..priors.base import Prior
from ..random import stream_ids
from .memory import WHOLE
from .problem import Stated, Window
from .report import join_reports
from .results import Result
from .settings import Settings

__all__ = ["MARGIN", "Box", "InBoxes", "boxes_of", "fits_boxes", "solve_in_boxes"]

MARGIN = 96  # px round a hole that are looked at: the network's memory of what surrounds it
CELL = 1024 - 2 * MARGIN  # px; side of what a box fills
LEAST_KNOWN = 0.5  # of each box; below it, a hole is not thin

Array = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Solve = Callable[[str, Images, Stated, Settings], Result[Any]]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A cell of an image, and what is looked at to fill it."""

    cell: Window
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
        page: States the problem of a part of an image, from it and its weights.
        whole: States the problem of the whole images, for priors that need them.
        opaque: Whether the result loses the transparency of the images.
    """

    soft: Tensor
    boxes: Sequence[Sequence[Box] | None]
    page: Callable[[Images, Tensor], Stated]
    whole: Callable[[], Stated]
    opaque: bool = False


def boxes_of(hole: Tensor, unknown: Tensor) -> list[list[Box] | None]:
    """Return the boxes of each image; None for one whose holes are close together, or not thin.

    Arguments:
        hole: The pixels to fill, ``(B, 1, H, W)`` of bool.
        unknown: Those, and all others of which nothing is known.
    """
    pairs = zip(hole[:, 0].numpy(), unknown[:, 0].numpy(), strict=True)
    return [_boxes(*pair) for pair in pairs]


def _boxes(hole: Array, unknown: Array) -> list[Box] | None:
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    if not len(rows):
        return None
    spans = [int(at[-1] - at[0]) + 2 * MARGIN for at in (rows, columns)]
    if spans[0] * spans[1] <= WHOLE:
        return None
    height, width = hole.shape
    boxes = []
    for top in range(0, height, CELL):
        for left in range(0, width, CELL):
            cell = Window(_span(top, height, 0), _span(left, width, 0))
            if not hole[cell.rows, cell.columns].any():
                continue
            seen = Window(_span(top, height, MARGIN), _span(left, width, MARGIN))
            if unknown[seen.rows, seen.columns].mean() > 1 - LEAST_KNOWN:
                return None
            boxes.append(Box(cell=cell, seen=seen))
    area = sum(box.seen.size[0] * box.seen.size[1] for box in boxes)
    return boxes if area < spans[0] * spans[1] else None


def _span(start: int, length: int, margin: int) -> slice:
    return slice(max(0, start - margin), min(length, start + CELL + margin))


def fits_boxes(prior: Prior, settings: Settings) -> bool:
    """Return whether a call may be solved in boxes: one result, of a prior of pixels alone."""
    alone = not (prior.latent or prior.sees_image) and settings.control_image is None
    return alone and settings.samples == 1


def solve_in_boxes(
    task: str, images: Images, stated: InBoxes, prior: Prior, settings: Settings, solve: Solve
) -> Result[Any]:
    """Return the result of a problem in boxes.

    Arguments:
        prior: The prior of the call, as it was opened.
        solve: Solves the problem of one box.
    """
    canvas = images.values.copy()
    like = replace(images, alpha=None) if stated.opaque else images
    plain: dict[str, Any] = {"device": None, "lora": None, "lora_scale": None, "controlnet": None}
    opened = replace(settings, **plain, prior=prior, offload=False)
    reports = []
    for i, name in enumerate(stream_ids(settings.ids, len(images))):
        callback = part_callback(settings.callback, i, len(images))
        own = replace(opened, ids=[name], callback=callback)
        reports.append(_fill(canvas, like, i, stated, partial(solve, task), own))
    image = images.restore_kind(canvas, None if stated.opaque else images.alpha)
    return Result(
        image=image,
        samples=[image],
        mean=image,
        std=None,
        report=join_reports(reports, range(len(images))),  # type: ignore[arg-type]
        cover=stated.soft,
    )


def _fill(
    canvas: np.ndarray[Any, Any],
    images: Images,
    i: int,
    stated: InBoxes,
    solve: Callable[[Images, Stated, Settings], Result[Any]],
    settings: Settings,
) -> dict[str, Any]:
    """Fill one image of the canvas, and return its report.

    It is the same in any company: the noise of a box is named by its image and its number there.
    """
    height, width = images.size
    everything = Window(rows=slice(0, height), columns=slice(0, width))
    own = stated.boxes[i]
    boxes = [Box(cell=everything, seen=everything)] if own is None else own
    assert settings.ids is not None
    name = settings.ids[0]
    left = stated.soft[i : i + 1].clone()  # 0 where a pixel is known, at first or by now
    reports = []
    for k, box in enumerate(boxes):
        part = _part(images, canvas, i, box.seen)
        callback = part_callback(settings.callback, k, len(boxes))
        ids = [name] if own is None else [f"{name} {k}"]
        result = solve(
            part,
            stated.page(part, box.seen.cut(left)),
            replace(settings, ids=ids, callback=callback),
        )
        inner = box.inner
        canvas[i, box.cell.rows, box.cell.columns] = result.image[0, inner.rows, inner.columns]
        left[0, :, box.cell.rows, box.cell.columns] = 0
        reports.append(dict(result.report))
    return reports[0] if own is None else _joined(reports)


def _part(images: Images, canvas: np.ndarray[Any, Any], i: int, seen: Window) -> Images:
    """Return a part of one image as it is now; what is made of it are plain values."""
    alpha = images.alpha
    return Images(
        values=canvas[i : i + 1, seen.rows, seen.columns],
        alpha=None if alpha is None else alpha[i : i + 1, seen.rows, seen.columns],
        rebuild=lambda values, alpha: values,
    )


def _joined(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the report of all boxes."""
    report = join_reports(reports, [0])  # the noise level of the image is that of each box
    return report | {"boxes": len(reports)}
