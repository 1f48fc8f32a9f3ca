"""Priors of classes and of texts that can be computed by hand."""

import torch
from torch import Tensor

from diffprior.priors._conditions import ConditionalPrior
from diffprior.priors.mixture import MixturePrior

from support.exact import random

SHAPE = (3, 8, 8)


class ClassPrior(ConditionalPrior):
    """Mixtures, one a class; all of them together without a class."""

    def __init__(self, *parts: MixturePrior, free: bool = True) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)
        self.diffusion, self.shape, self.can_be_free = parts[0].diffusion, parts[0].shape, free
        self.classes = len(parts)
        means = torch.cat([p.means.reshape(-1, *self.shape) for p in parts])
        covs = torch.cat([p.eigvals for p in parts])
        self.whole = MixturePrior(torch.ones(len(means)).to(means), means, covs)

    def for_label(self, label: int | None) -> "ClassPrior":
        if label is None and self.can_be_free:
            return self._replace(label=None)
        if label not in range(self.classes):
            raise ValueError(f"{self.classes} classes: label is one of 0 ... 1, got {label}")
        return self._replace(label=label)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (self.whole if self.label is None else self.parts[self.label])(x_t, t)


class TextPrior(ConditionalPrior):
    """A Gaussian of one image for every text: the mean is the number of its letters."""

    def __init__(self, text: str | None = None) -> None:
        super().__init__()
        one = torch.ones(1, dtype=torch.float64)
        size = 0.0 if text is None else len(text) / 10
        self.reads_text, self.text, self.one = (
            True,
            text,
            MixturePrior(one, torch.full((1, *SHAPE), size).double(), one),
        )
        self.diffusion, self.shape = self.one.diffusion, SHAPE

    def for_text(self, text: str | None, negative: bool = False) -> "TextPrior":
        return TextPrior(text)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.one(x_t, t)


def classes(seed: int = 0, free: bool = True, dtype: torch.dtype = torch.float64) -> ClassPrior:
    """Two classes of flat images, one component each, a good way apart."""
    one = torch.ones(1, dtype=dtype)
    means = [0.4 * k + 0.05 * random(1, *SHAPE, seed=seed + i) for i, k in enumerate((-1, 1))]
    return ClassPrior(*(MixturePrior(one, m.to(dtype), 0.005 * one) for m in means), free=free)
