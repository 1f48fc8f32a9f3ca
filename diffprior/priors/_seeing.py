"""Priors whose network sees an image beside the state, in channels of its own."""

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batching import row_by_row
from ..errors import SettingError, UnsuitedError
from ..networks.parameterizations import Parameterization
from .network import NetworkPrior

__all__ = ["Classes", "SeeingPrior", "seen_image"]


class Classes(TypedDict, total=False):
    """The classes of a network, which subclasses of ``SeeingPrior`` hand on to it.

    Attributes:
        classes, unconditional: As of ``NetworkPrior``.
    """

    classes: int
    unconditional: bool


class SeeingPrior(NetworkPrior):
    """A prior of images, whose network takes the channels of ``seen_image`` after those of x_t.

    Without an image it is a prior like any other: a part of the training was without one.

    Arguments:
        network: A map from states with C + 1 more channels, those of ``seen_image``, and times to
            states.
        parameterization, shape, classes, unconditional: As of ``NetworkPrior``.
        level: Share of noise in the image that the network sees, in [0, 1).

    Raises:
        SettingError: If the level is no such share.

    Attributes:
        seen: What the network sees, ``(B, C + 1, H, W)``; None for nothing.
    """

    def __init__(
        self,
        network: Any,
        parameterization: Parameterization,
        shape: Sequence[int],
        *,
        classes: int = 0,
        unconditional: bool = True,
        level: float = 0.0,
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
            raise SettingError(f"level of the image that is seen lies in [0, 1), got {level}")
        self.level = level
        self.seen: Tensor | None
        self.register_buffer("seen", None, persistent=False)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        channels = x_t.shape[1]
        seen = self.seen
        if seen is None:
            seen = seen_image(None, None, x_t.new_ones(len(x_t)), x_t)
        elif seen.shape[2:] != x_t.shape[2:]:
            raise UnsuitedError("an image that a network sees is not cut: give one of its own size")
        joined = torch.cat([x_t, seen.to(x_t).expand(len(x_t), -1, -1, -1)], 1)
        return row_by_row(
            lambda row: self._denoise(row[:, :channels], t, row[:, channels:]), joined
        )


def seen_image(image: Tensor | None, noise: Tensor | None, levels: Tensor, like: Tensor) -> Tensor:
    """Return what such a network sees, of shape ``(B, C + 1, H, W)``.

    sqrt(1 - s^2) x + s eps of images x, which are enlarged if they are small, and s in one more
    channel; zeros where s is 1.

    Arguments:
        image: Images; None for none.
        noise: eps, of the shape of ``like``.
        levels: s of each row, of shape ``(B,)``.
        like: States.
    """
    s = levels.to(like)[:, None, None, None]
    plane = s.expand(-1, 1, *like.shape[2:])
    if image is None or noise is None:
        return torch.cat([torch.zeros_like(like), plane], 1)
    size = (int(like.shape[2]), int(like.shape[3]))
    large = F.interpolate(image.to(like), size=size, mode="bilinear", align_corners=False)
    mixed = (1 - s**2).sqrt() * large + s * noise.to(like)
    return torch.cat([torch.where(s < 1, mixed, torch.zeros_like(mixed)), plane], 1)
