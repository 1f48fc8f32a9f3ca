"""Copies joined by their gradients.

"Poisson Image Editing" (Perez et al., 2003), with two changes. The correction of the colors fades
with the distance from a seam, so that a wrong neighbor does not tint the whole hole. And where two
copies meet, the stronger of their two gradients is taken: their mean would have less texture than
either.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..solvers import cg
from .levels import Level
from .shift_map import copied

__all__ = ["blend", "paste"]

LENGTH = 20.0  # px after which a correction has faded to 1 / e
ITERATIONS = 200
BORDER = 2  # px round the hole that are looked at


def blend(level: Level, sources: Tensor, length: float = LENGTH) -> Tensor:
    """Return the image ``(C, H, W)``, its hole filled with the gradients at the sources.

    The copies s get the correction c that minimizes the sum of ||c_p - c_q - t||^2 over all
    neighbors p and q, plus ||c||^2 / length^2, where t is the difference that their sources have
    less that of s_p and s_q.

    Arguments:
        level: The image and its hole.
        sources: The known pixel that each is a copy of, ``(H, W, 2)``.
    """
    image, hole = level.image, level.hole
    if not hole.any():
        return image
    box = _box(hole)
    copy = copied(image, sources)
    sides = [_side(level, copy, sources, axis, box) for axis in (1, 0)]
    change = _correction(hole[box].to(image), sides, length)
    out = copy.clone()
    out[(slice(None), *box)] += change
    return torch.where(hole, out, image)


def paste(
    image: Tensor, other: Tensor, hole: Tensor, known: Tensor, length: float = LENGTH
) -> Tensor:
    """Return the image ``(C, H, W)``, its hole filled with another one that lies over it.

    The correction is that of ``blend``: at the border it takes what is known there less what the
    other has there, and inside it changes as little as may be.

    Arguments:
        hole: True where to fill, ``(H, W)``.
        known: True where the image shows something, ``(H, W)``.
    """
    if not hole.any():
        return image
    box = _box(hole)
    part = (slice(None), *box)
    jump = torch.where(known, image - other, 0.0)[part]
    sides = [_rim(jump, hole[box], known[box], axis) for axis in (1, 0)]
    change = _correction(hole[box].to(image), sides, length)
    out = other.clone()
    out[part] += change
    return torch.where(hole, out, image)


def _rim(jump: Tensor, hole: Tensor, known: Tensor, axis: int) -> "_Side":
    """Return the neighbors along an axis, of which one is in the hole at least."""
    n = hole.shape[axis] - 1
    lost, seen = ((x.narrow(axis, 0, n), x.narrow(axis, 1, n)) for x in (hole, known))
    before, after = (jump.narrow(axis + 1, k, n) for k in (0, 1))
    inside = lost[0] & lost[1]
    entering, leaving = seen[0] & lost[1], lost[0] & seen[1]
    target = torch.where(leaving, after, torch.where(entering, -before, 0.0))
    return _Side(axis + 1, target, (inside | entering | leaving).to(jump))


def _box(hole: Tensor) -> tuple[slice, slice]:
    spans = []
    for axis in (1, 0):
        at = hole.any(axis).nonzero()
        low, high = int(at.min()) - BORDER, int(at.max()) + 1 + BORDER
        spans.append(slice(max(0, low), min(hole.shape[1 - axis], high)))
    return spans[0], spans[1]


class _Side(NamedTuple):
    """Neighbors p and q along one axis of a box.

    Attributes:
        axis: The axis of images ``(C, H, W)``.
        target: The differences c_p - c_q that the correction is to make, ``(C, ...)``.
        counts: 1 where they count and 0 elsewhere.
    """

    axis: int
    target: Tensor
    counts: Tensor

    def differences(self, x: Tensor) -> Tensor:
        """Return x_p - x_q."""
        return -x.diff(dim=self.axis)

    def add_adjoint(self, out: Tensor, differences: Tensor) -> None:
        """Add the transpose of ``differences`` to images."""
        n = out.shape[self.axis] - 1
        out.narrow(self.axis, 0, n).add_(differences)
        out.narrow(self.axis, 1, n).sub_(differences)


def _side(
    level: Level, copy: Tensor, sources: Tensor, axis: int, box: tuple[slice, slice]
) -> _Side:
    """Return the neighbors along an axis.

    Arguments:
        axis: 1 for neighbors in a row, 0 for those in a column.
        box: Rows and columns that are looked at.
    """
    image, hole, known = level.image, level.hole, level.known
    step = torch.tensor((0, 1) if axis else (1, 0))
    n = hole[box].shape[axis] - 1

    def pairs(x: Tensor, along: int) -> tuple[Tensor, Tensor]:
        return x.narrow(along, 0, n), x.narrow(along, 1, n)

    first, second = pairs(sources[box], axis)
    a, b = pairs(copy[(slice(None), *box)], axis + 1)
    after, has_after = _look(image, known, first + step)
    before, has_before = _look(image, known, second - step)
    one = (a - after) * has_after
    two = (before - b) * has_before
    wanted = torch.where(one.abs().sum(0) >= two.abs().sum(0), one, two)
    lost, shown = pairs(hole[box], axis), pairs((hole | known)[box], axis)
    counts = (lost[0] | lost[1]) & shown[0] & shown[1] & (has_after | has_before)
    return _Side(axis + 1, torch.where(counts, wanted - (a - b), 0.0), counts.to(copy))


def _look(image: Tensor, known: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values ``(C, H, W)`` at places ``(H, W, 2)``, and whether they are known."""
    inner = at.clamp_min(0).minimum(torch.tensor(known.shape) - 1)
    row, column = inner.unbind(-1)
    return image[:, row, column], (inner == at).all(-1) & known[row, column]


def _correction(inside: Tensor, sides: Sequence[_Side], length: float) -> Tensor:
    """Return the correction ``(C, H, W)`` of a box; it is 0 where ``inside`` is."""
    wanted = torch.zeros(len(sides[0].target), *inside.shape).to(inside)
    for side in sides:
        side.add_adjoint(wanted, side.target)
    return cg(partial(_normal, inside, sides, length), (wanted * inside)[None], ITERATIONS, 1e-4)[0]


def _normal(inside: Tensor, sides: Sequence[_Side], length: float, x: Tensor) -> Tensor:
    """Return the product of the normal matrix with corrections ``(1, C, H, W)``."""
    own = x[0] * inside
    out = own / length**2
    for side in sides:
        side.add_adjoint(out, side.counts * side.differences(own))
    return (out * inside)[None]
