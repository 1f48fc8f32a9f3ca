"""What the steps of an inversion add to its code."""

import torch
from torch import Tensor

from ..bands import is_large, let_go, stored
from .base import Keep, _short

__all__ = ["Steps", "step_of"]


class Steps:
    """What each step of an inversion adds to its code, with a tensor for each.

    Those of large images lie in a file, and in half precision where they were rounded to it.

    Arguments:
        count: The number of steps.
        keep: Rounds what a step adds.
    """

    def __init__(self, count: int, keep: Keep) -> None:
        self.count = count
        self.keep = keep
        self.added: list[Tensor] = []
        self.large: Tensor | None = None

    def add(self, x: Tensor) -> Tensor:
        """Hold what a step adds, and return it, rounded."""
        x = self.keep(x)
        if not is_large(x):
            self.added.append(x)
            return x
        if self.large is None:
            short = self.keep is _short
            like = x.new_empty(0, dtype=torch.float16) if short else x
            self.large = stored((self.count, *x.shape), like)
            self.next = iter(self.large)
        next(self.next).copy_(x)
        let_go(self.large)
        return x

    def joined(self) -> Tensor:
        """Return what all steps added, ``(B, steps, *)``."""
        return torch.stack(self.added, 1) if self.large is None else self.large.movedim(0, 1)


def step_of(added: Tensor, i: int, like: Tensor) -> Tensor:
    """Return what a step added, in the dtype of a state.

    Arguments:
        added: What all steps added, ``(B, steps, *)``.
        i: The number of the step.
    """
    part = added[:, i].to(like, copy=True)
    let_go(added)
    return part
