"""Copies joined by their gradients.

"Poisson Image Editing" (Perez et al., 2003), with two changes that keep the colors of a wrong
neighbor out of the hole. A jump that is large is an edge of the image and stays one; and the
correction fades with the distance from a seam.
"""

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
    image, hole, _ = level
    if not hole.any():
        return image
    box = _box(hole)
    copy = copied(image, sources)
    across, down = (_jumps(level, copy, sources, axis, box) for axis in (1, 0))
    change = _correction(hole[box].to(image), across, down, length, jump)
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


def _jumps(
    level: Level, copy: Tensor, sources: Tensor, axis: int, box: tuple[slice, slice]
) -> tuple[Tensor, Tensor]:
    """Return the jumps between neighbors less those wanted, ``(C, H, W)``, and where they count.

    Arguments:
        axis: 1 for neighbors in a row, 0 for those in a column.
        box: Rows and columns that are looked at.
    """
    image, hole, known = level
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
    return target, inside.to(x)


def _look(image: Tensor, known: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values ``(C, H, W)`` at places ``(H, W, 2)``, and whether they are known."""
    inner = at.clamp_min(0).minimum(torch.tensor(known.shape) - 1)
    row, column = inner.unbind(-1)
    return image[:, row, column], (inner == at).all(-1) & known[row, column]


def _correction(
    inside: Tensor,
    across: tuple[Tensor, Tensor],
    down: tuple[Tensor, Tensor],
    length: float,
    jump: float,
) -> Tensor:
    """Return the correction ``(C, H, W)`` of a box; it is 0 where ``inside`` is."""
    sides = ((across, 2), (down, 1))
    change = torch.zeros(len(across[0]), *inside.shape).to(inside)
    for _ in range(ROUNDS):
        weights = []
        for (target, counts), axis in sides:
            left = ((-change.diff(dim=axis) - target) ** 2).sum(0) / jump**2
            weights.append(counts / (1 + left))

        def differences(parts: list[Tensor]) -> Tensor:
            out = torch.zeros_like(change)
            for part, weight, (_, axis) in zip(parts, weights, sides, strict=True):  # noqa: B023
                n = out.shape[axis] - 1
                out.narrow(axis, 0, n).add_(weight * part)
                out.narrow(axis, 1, n).sub_(weight * part)
            return out * inside

        def normal(x: Tensor) -> Tensor:
            x = x[0] * inside
            own = differences([-x.diff(dim=axis) for _, axis in sides])  # noqa: B023
            return (own + inside * x / length**2)[None]

        wanted = differences([target for (target, _), _ in sides])
        change = cg(normal, wanted[None], ITERATIONS, 1e-3)[0]
    return change
