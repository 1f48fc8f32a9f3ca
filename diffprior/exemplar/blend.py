"""Copies joined by their gradients.

"Poisson Image Editing" (Perez et al., 2003), with two changes that keep the colors of a wrong
neighbor out of the hole. A jump that is large is an edge of the image and stays one; and the
correction fades with the distance from a seam.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..solvers import cg
from .levels import Level
from .shift_map import copied

__all__ = ["blend"]

LENGTH = 20.0  # px after which a correction has faded to 1 / e
JUMP = 0.06  # in [0, 1] units; a larger one is taken for an edge
ROUNDS = 2  # of weights
ITERATIONS = 80
BORDER = 2  # px round the hole that are looked at


def blend(level: Level, sources: Tensor, length: float = LENGTH, jump: float = JUMP) -> Tensor:
    """Return the image ``(C, H, W)``, its hole filled with the gradients at the sources.

    The copies s get the correction c that minimizes the sum of w ||c_p - c_q - t||^2 over all
    neighbors p and q, plus ||c||^2 / length^2; t is the jump of s between p and q less the one that
    their sources have, and w = 1 / (1 + (||c_p - c_q - t|| / jump)^2).

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
    change = _correction(hole[box].to(image), sides, length, jump)
    out = copy.clone()
    out[(slice(None), *box)] += change
    return torch.where(hole, out, image)


def _box(hole: Tensor) -> tuple[slice, slice]:
    spans = []
    for axis in (1, 0):
        at = hole.any(axis).nonzero()
        low, high = int(at.min()) - BORDER, int(at.max()) + 1 + BORDER
        spans.append(slice(max(0, low), min(hole.shape[1 - axis], high)))
    return spans[0], spans[1]


def _side(
    level: Level, copy: Tensor, sources: Tensor, axis: int, box: tuple[slice, slice]
) -> "_Side":
    """Return the neighbors along an axis: their target is the jump at their sources less their own.

    Arguments:
        axis: 1 for neighbors in a row, 0 for those in a column.
        box: Rows and columns that are looked at.
    """
    image, hole, known = level.image, level.hole, level.known
    step = torch.tensor((0, 1) if axis else (1, 0))
    hole_in, source, x = hole[box], sources[box], copy[(slice(None), *box)]
    n = hole_in.shape[axis] - 1
    first, second = source.narrow(axis, 0, n), source.narrow(axis, 1, n)
    a, b = x.narrow(axis + 1, 0, n), x.narrow(axis + 1, 1, n)
    after, known_after = _look(image, known, first + step)
    before, known_before = _look(image, known, second - step)
    weight = known_after.to(x) + known_before.to(x)
    wanted = ((a - after) * known_after + (before - b) * known_before) / weight.clamp_min(1)
    shown = hole_in | known[box]
    inside = (hole_in.narrow(axis, 0, n) | hole_in.narrow(axis, 1, n)) & (
        shown.narrow(axis, 0, n) & shown.narrow(axis, 1, n)
    )
    target = torch.where((weight > 0) & inside, wanted - (a - b), 0.0)
    return _Side(axis + 1, target, inside.to(x))


def _look(image: Tensor, known: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values ``(C, H, W)`` at places ``(H, W, 2)``, and whether they are known."""
    inner = at.clamp_min(0).minimum(torch.tensor(known.shape) - 1)
    row, column = inner.unbind(-1)
    return image[:, row, column], (inner == at).all(-1) & known[row, column]


class _Side(NamedTuple):
    """Neighbors along one axis of a box.

    Attributes:
        axis: The axis of images ``(C, H, W)``.
        target: The jumps that their correction is to make, ``(C, ...)``.
        counts: 1 where they count and 0 elsewhere.
    """

    axis: int
    target: Tensor
    counts: Tensor

    def jumps(self, x: Tensor) -> Tensor:
        """Return x_p - x_q of all neighbors p and q."""
        return -x.diff(dim=self.axis)

    def add_adjoint(self, out: Tensor, jumps: Tensor) -> None:
        """Add the transpose of ``jumps`` to images."""
        n = out.shape[self.axis] - 1
        out.narrow(self.axis, 0, n).add_(jumps)
        out.narrow(self.axis, 1, n).sub_(jumps)

    def weight(self, change: Tensor, jump: float) -> Tensor:
        """Return the weights under a correction: small where a jump is left that is an edge."""
        left = ((self.jumps(change) - self.target) ** 2).sum(0)
        return self.counts / (1 + left / jump**2)


def _correction(inside: Tensor, sides: Sequence[_Side], length: float, jump: float) -> Tensor:
    """Return the correction ``(C, H, W)`` of a box; it is 0 where ``inside`` is."""
    change = torch.zeros(len(sides[0].target), *inside.shape).to(inside)
    for _ in range(ROUNDS):
        weights = [side.weight(change, jump) for side in sides]
        normal = partial(_normal, inside, sides, weights, 1 / length**2)
        wanted = torch.zeros_like(change)
        for side, weight in zip(sides, weights, strict=True):
            side.add_adjoint(wanted, weight * side.target)
        change = cg(normal, (wanted * inside)[None], ITERATIONS, 1e-3)[0]
    return change


def _normal(
    inside: Tensor, sides: Sequence[_Side], weights: Sequence[Tensor], fading: float, x: Tensor
) -> Tensor:
    """Return the product of the normal matrix with corrections ``(1, C, H, W)``."""
    own = x[0] * inside
    out = fading * own
    for side, weight in zip(sides, weights, strict=True):
        side.add_adjoint(out, weight * side.jumps(own))
    return (out * inside)[None]
