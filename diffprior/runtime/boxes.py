"""Large images with thin holes: box after box, so that memory and time are those of the holes.

A scratch across a photograph has a bounding box as large as the image. Its pixels are few, and each
depends on what is near. So the image is cut into cells, and each cell with a part of a hole is
solved with a margin round it. What earlier boxes filled is known to the later ones, and a hole that
crosses several cells goes on where it ended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from ..batching import part_callback
from ..io.arrays import Images
from ..priors.base import Prior
from ..random import stream_ids
from .memory import WHOLE
from .problem import Problem, ProblemFor, Window
from .results import Result
from .settings import Settings

__all__ = ["Box", "InBoxes", "boxes_of", "fits_boxes", "solve_in_boxes"]

MARGIN = 96  # px round a cell that are looked at
CELL = 1024 - 2 * MARGIN  # px; side of what a box fills
LEAST_KNOWN = 0.5  # of each box; below it, a hole is not thin

Array = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Solve = Callable[[str, Images, Problem | ProblemFor, Settings], Result[Any]]


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
        boxes: The boxes of each image.
        page: States the problem of a part of an image, from it and its weights.
        whole: States the problem of the whole images, for priors that need them.
        opaque: Whether the result loses the transparency of the images.
    """

    soft: Tensor
    boxes: Sequence[Sequence[Box]]
    page: Callable[[Images, Tensor], Problem | ProblemFor]
    whole: Callable[[], Problem | ProblemFor]
    opaque: bool = False


def boxes_of(hole: Tensor, unknown: Tensor) -> list[list[Box]] | None:
    """Return the boxes of each image; None where the holes are small together, or not thin.

    Arguments:
        hole: The pixels to fill, ``(B, 1, H, W)`` of bool.
        unknown: Those, and all others of which nothing is known.
    """
    pairs = zip(hole[:, 0].numpy(), unknown[:, 0].numpy(), strict=True)
    boxes = [_boxes(*pair) for pair in pairs]
    return None if any(each is None for each in boxes) else [each or [] for each in boxes]


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
    left = stated.soft.clone()  # 0 where a pixel is known, at first or by now
    ids = stream_ids(settings.ids, len(images))
    plain: dict[str, Any] = {"device": None, "lora": None, "lora_scale": None, "controlnet": None}
    opened = replace(settings, **plain, prior=prior, offload=False)
    places = [(i, box) for i, boxes in enumerate(stated.boxes) for box in boxes]
    reports = []
    for k, (i, box) in enumerate(places):
        part = _part(like, canvas, i, box.seen)
        own = replace(
            opened,
            ids=[f"{ids[i]} {k}"],
            callback=part_callback(settings.callback, k, len(places)),
        )
        result = solve(task, part, stated.page(part, box.seen.cut(left[i : i + 1])), own)
        inner = box.inner
        canvas[i, box.cell.rows, box.cell.columns] = result.image[0, inner.rows, inner.columns]
        left[i, :, box.cell.rows, box.cell.columns] = 0
        reports.append(dict(result.report))
    image = images.restore_kind(canvas, None if stated.opaque else images.alpha)
    return Result(
        image=image,
        samples=[image],
        mean=image,
        std=None,
        report=_joined(reports),  # type: ignore[arg-type]
        cover=stated.soft,
    )


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
    report = dict(reports[0])
    report["method"] = "; ".join(dict.fromkeys(str(r["method"]) for r in reports))
    for key in ("network_calls", "network_seconds", "seconds"):
        report[key] = round(sum(r[key] for r in reports), 2)
    return report | {"boxes": len(reports)}
