"""A cascade: a small image first, then a large one that is drawn under it."""

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batching import row_by_row
from ..errors import SettingError
from ..networks.parameterizations import Parameterization
from .base import Prior
from .network import NetworkPrior

__all__ = ["CascadePrior", "seen_image"]


class CascadePrior(NetworkPrior):
    """A prior of images, whose network also sees a small image of the same thing.

    The small one is drawn from a prior of its own, and enlarged. As it is never quite that of a
    real image, the network was trained on small images with noise of many levels
    (conditioning augmentation), and is told the level: "Cascaded Diffusion Models for High Fidelity
    Image Generation" (Ho et al., 2022), https://arxiv.org/abs/2106.15282. Without a small image it
    is a prior like any other: a part of the training was without one.

    Arguments:
        base: The prior of the small images.
        network: A map from states with C + 1 more channels, those of ``seen_image``, and times to
            states.
        parameterization, shape, classes, unconditional: As of ``NetworkPrior``.
        level: Share of noise in the small image that the network sees, in [0, 1).

    Attributes:
        seen: What the network sees of small images, ``(B, C + 1, H, W)``; None for none.
    """

    def __init__(  # noqa: PLR0913 - those of a network prior, and two more
        self,
        base: Prior,
        network: Any,
        parameterization: Parameterization,
        shape: Sequence[int],
        *,
        classes: int = 0,
        unconditional: bool = True,
        level: float = 0.2,
    ) -> None:
        super().__init__(
            network,
            parameterization,
            shape,
            classes=classes,
            unconditional=unconditional,
            multiple=None,
        )
        if not 0 <= level < 1:
            raise SettingError(f"level of a cascade lies in [0, 1), got {level}")
        self.base = base
        self.level = level
        self.seen: Tensor | None
        self.register_buffer("seen", None, persistent=False)

    @property
    def first(self) -> Prior:
        return self.base

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        channels = x_t.shape[1]
        seen = self.seen
        if seen is None:
            seen = seen_image(None, None, x_t.new_ones(len(x_t)), x_t)
        joined = torch.cat([x_t, seen.to(x_t).expand(len(x_t), -1, -1, -1)], 1)
        return row_by_row(
            lambda row: self._denoise(row[:, :channels], t, row[:, channels:]), joined
        )

    def for_label(self, label: int | None) -> Self:
        return super().for_label(label)._replace(base=self.base.for_label(label))

    def _show(self, **inputs: Tensor) -> Prior:
        """Return this prior under small images.

        Arguments:
            inputs: ``small``, the images, and ``noise``, normal numbers of the shape of the states.
        """
        if "small" not in inputs:
            return super()._show(**inputs)
        noise = inputs["noise"]
        levels = noise.new_full((len(noise),), self.level)
        return self._replace(seen=seen_image(inputs["small"], noise, levels, noise))


def seen_image(small: Tensor | None, noise: Tensor | None, levels: Tensor, like: Tensor) -> Tensor:
    """Return what the network of a cascade sees, of shape ``(B, C + 1, H, W)``.

    sqrt(1 - s^2) x + s eps of enlarged images x, and s in one more channel; zeros where s is 1.

    Arguments:
        small: Small images; None for none.
        noise: eps, of the shape of ``like``.
        levels: s of each row, of shape ``(B,)``.
        like: States.
    """
    s = levels.to(like)[:, None, None, None]
    plane = s.expand(-1, 1, *like.shape[2:])
    if small is None or noise is None:
        return torch.cat([torch.zeros_like(like), plane], 1)
    size = (int(like.shape[2]), int(like.shape[3]))
    large = F.interpolate(small.to(like), size=size, mode="bilinear", align_corners=False)
    mixed = (1 - s**2).sqrt() * large + s * noise.to(like)
    return torch.cat([torch.where(s < 1, mixed, torch.zeros_like(mixed)), plane], 1)
