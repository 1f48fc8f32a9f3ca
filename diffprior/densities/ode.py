"""An ordinary differential equation of one row, by Runge-Kutta steps that adapt to it."""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from ..errors import SettingError

__all__ = ["ERROR", "NODES", "STAGES", "Solution", "dormand_prince"]

# "A family of embedded Runge-Kutta formulae" (Dormand and Prince, 1980): where the slopes of a step
# are taken, what each is taken after, and the error of the last of these states
NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES: tuple[tuple[float, ...], ...] = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0  # of the next step
FIRST = 1 / 20  # of the interval
SMALLEST = 1e-5  # of the interval; a step below it makes no way


class Solution(NamedTuple):
    """The end of a path.

    Attributes:
        y: The state there.
        calls: How often the slope was asked for.
    """

    y: Tensor
    calls: int


def dormand_prince(
    slope: Callable[[float, Tensor], Tensor],
    y: Tensor,
    start: float,
    stop: float,
    measure: Callable[[Tensor, Tensor, Tensor], float],
) -> Solution:
    """Return the solution of dy/dt = slope(t, y) at ``stop``, to fifth order.

    The step follows the error of this one state, so that a batch is solved a row at a time: its
    rows then do not depend on one another.

    Arguments:
        slope: Takes t and y.
        y: The state at ``start``, of any shape.
        start, stop: The ends of the interval, in either order.
        measure: Takes the error of a step and the states before and after it; returns the size of
            the error in units of what is allowed.

    Raises:
        SettingError: If the steps become too small, as they do where the slope is rougher than the
            tolerance.
    """
    way = stop - start
    t, step = start, FIRST * way
    k = slope(t, y)
    calls = 1
    while abs(stop - t) > 1e-12 * abs(way):
        step = stop - t if abs(step) > abs(stop - t) else step
        slopes = [k]
        for node, weights in zip(NODES[1:], STAGES, strict=True):
            here = y + step * _combine(weights, slopes)
            slopes.append(slope(t + node * step, here))
        calls += len(STAGES)
        size = measure(step * _combine(ERROR, slopes), y, here)
        if size <= 1:
            t, y, k = t + step, here, slopes[-1]
        step *= _change(size)
        if abs(step) < SMALLEST * abs(way) < abs(stop - t):
            raise SettingError(
                "the steps of the flow became too small: use a larger tolerance, or float32"
            )
    return Solution(y, calls)


def _change(size: float) -> float:
    """Return the factor of the next step, after an error of this size; NaN is far too much."""
    if not size < math.inf:
        return SHRINK
    return min(GROW, max(SHRINK, SAFETY * math.pow(max(size, 1e-10), -0.2)))


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """Return the weighted sum of slopes."""
    total = weights[0] * slopes[0]
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        if weight:
            total = total + weight * slope
    return total
