"""Counting: how often a prior is called, so that methods can be compared at equal work."""

from collections import Counter

from torch import Tensor

from .base import Prior, Wrapper

__all__ = ["CountedPrior"]


class CountedPrior(Wrapper):
    """The same prior; it counts the states that pass through it, forward and backward.

    Attributes:
        count: ``calls`` and ``vjps`` (vector-Jacobian products), one per state. Copies, such as
            those of ``for_shape``, share the count.
    """

    def __init__(self, inner: Prior, count: Counter[str] | None = None) -> None:
        super().__init__(inner)
        self.count = Counter[str]() if count is None else count

    def with_inner(self, inner: Prior) -> "CountedPrior":
        return CountedPrior(inner, self.count)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.count["calls"] += len(x_t)
        x_0: Tensor = self.inner(x_t, t)
        if x_0.requires_grad:
            x_0.register_hook(self._count_vjps)  # type: ignore[no-untyped-call]
        return x_0

    def _count_vjps(self, v: Tensor) -> None:
        self.count["vjps"] += len(v)
