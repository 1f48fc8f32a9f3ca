"""A prior that counts what it was asked, so that methods can be held to equal work."""

from collections import Counter

from torch import Tensor

from .base import Prior, Wrapper

__all__ = ["CountedPrior"]


class CountedPrior(Wrapper):
    """The same prior; each state that goes through it, or back, is counted.

    Attributes:
        count: ``calls`` and ``vjps`` (vector-Jacobian products), one a state; copies from
            ``for_shape`` count in the same place.
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
            x_0.register_hook(self._back)  # type: ignore[no-untyped-call]
        return x_0

    def _back(self, v: Tensor) -> None:
        self.count["vjps"] += len(v)
