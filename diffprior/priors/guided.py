"""Classifier-free guidance (Ho and Salimans, 2021): the effect of a condition, amplified."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from ..errors import SettingError, UnsuitedError
from .base import Condition, Prior

__all__ = ["GuidedPrior", "unguided"]

IMAGE = 1.5  # guidance scale of an image that the network edits


class GuidedPrior(Prior):
    """x_0 = x_0(free) + w (x_0(conditional) - x_0(free)).

    w = 1 is the condition alone and w = 0 is no condition, as in diffusers; the paper's w is one
    less. For one step and single Gaussians, the result is the exact posterior mean of
    p(x | c)^w p(x)^(1 - w). Over a chain of steps it is a heuristic. "Classifier-Free Diffusion
    Guidance", https://arxiv.org/abs/2207.12598.

    Arguments:
        conditional, free: Priors of the same states and diffusion. The first has a condition. The
            second has none, or one to move away from (a negative prompt).
        scale: w.
        interval: The times (low, high) between which w applies; outside, w is 1. "Applying Guidance
            in a Limited Interval" (Kynkäänniemi et al., 2024), https://arxiv.org/abs/2404.07724.
        rescale: phi in [0, 1], how much the standard deviation of the guided x_0 is brought to that
            of the conditional one: "Common Diffusion Noise Schedules and Sample Steps are Flawed"
            (Lin et al., 2024), https://arxiv.org/abs/2305.08891, sec. 3.4.
    """

    def __init__(
        self,
        conditional: Prior,
        free: Prior,
        scale: float = 3.0,
        interval: tuple[float, float] = (0.0, 1.0),
        rescale: float = 0.0,
    ) -> None:
        super().__init__()
        if conditional.shape != free.shape:
            raise UnsuitedError(
                f"the two priors of a guided one have one shape, got {conditional.shape} "
                f"and {free.shape}"
            )
        if not 0 <= rescale <= 1 or not interval[0] <= interval[1]:
            raise SettingError(
                "rescale lies in [0, 1] and an interval is (low, high), "
                f"got {rescale} and {interval}"
            )
        self.conditional = conditional
        self.free = free
        self.scale = scale
        self.interval = interval
        self.rescale = rescale
        self._describe_as(conditional)

    @property
    def like(self) -> Tensor:
        return self.conditional.like

    @property
    def dtype(self) -> torch.dtype:
        return self.conditional.dtype

    @property
    def guidance_scale(self) -> float:
        return self.scale

    @property
    def embedding(self) -> Tensor | None:
        return self.conditional.embedding

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        x_0 = self.conditional(x_t, t)
        if self.scale == 1 or not self.interval[0] <= float(t) <= self.interval[1]:
            return x_0
        free = self.free(x_t, t)
        guided = free + self.scale * (x_0 - free)
        if self.rescale == 0:
            return guided
        axes = tuple(range(1, x_0.ndim))
        ratio = x_0.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
        return torch.lerp(guided, guided * ratio, self.rescale)

    def shares(self) -> Prior:
        return self.conditional.shares()

    def encode(self, image: Tensor) -> Tensor:
        return self.conditional.encode(image)

    def decode(self, state: Tensor) -> Tensor:
        return self.conditional.decode(state)

    @property
    def first(self) -> Prior | None:
        conditional, free = self.conditional.first, self.free.first
        if conditional is None or free is None:
            return None
        return type(self)(conditional, free, self.scale, self.interval, self.rescale)

    def with_inner(self, conditional: Prior, free: Prior) -> Self:
        """Return the same guidance between two other priors."""
        return type(self)(conditional, free, self.scale, self.interval, self.rescale)

    def for_shape(self, shape: Sequence[int]) -> Self:
        return self.with_inner(self.conditional.for_shape(shape), self.free.for_shape(shape))

    def with_time_shift(self, shape: Sequence[int]) -> Self:
        pair = self.conditional.with_time_shift(shape), self.free.with_time_shift(shape)
        return self if pair == (self.conditional, self.free) else self.with_inner(*pair)

    def for_text(self, text: str | None, negative: bool = False) -> Prior:
        return self.conditional.for_text(text, negative)

    def for_label(self, label: int | None) -> Prior:
        return self.conditional.for_label(label)

    def with_image(self, image: Tensor | None = None, hole: Tensor | None = None) -> Self:
        pair = (prior.with_image(image, hole) for prior in (self.conditional, self.free))
        return self.with_inner(*pair)

    def with_embedding(self, embedding: Tensor) -> Self:
        return self.with_inner(self.conditional.with_embedding(embedding), self.free)

    def _under(self, condition: Condition, name: str) -> Prior:
        if not condition.texts and condition.label is None and self.free.text is not None:
            condition = Condition(
                negative_prompt=self.free.text, guidance_scale=condition.guidance_scale
            )
        return self.conditional._under(condition, name)

    def _alone(self) -> Prior:
        return self.conditional

    def _away_from(self, free: Prior) -> Self:
        return self.with_inner(self.conditional, free)

    def _show(self, **inputs: Tensor) -> Self:
        return self.with_inner(self.conditional._show(**inputs), self.free._show(**inputs))

    def _edit(self, z: Tensor) -> Prior:
        text, image = self.conditional._edit(z), self.free._edit(z)
        blank = self.free._edit(torch.zeros_like(z))
        return type(self)(type(self)(text, image, self.scale / IMAGE), blank, IMAGE)


def unguided(prior: Prior) -> Prior:
    """Return the prior inside wrappers and guidance, under its condition alone."""
    leaf = prior.innermost
    while isinstance(leaf, GuidedPrior):
        leaf = leaf.conditional
    return leaf
