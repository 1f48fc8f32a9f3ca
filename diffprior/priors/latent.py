"""Latent priors: any prior of latents, behind an encoder and a decoder."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batching import row_by_row
from ..errors import ImageError, UnsuitedError
from ..networks.padding import pad_to_multiple
from .base import Prior, Wrapper

__all__ = ["LatentPrior"]


class LatentPrior(Wrapper):
    """A prior of latents, for images: likelihoods of images reach it through ``decode``.

    Images whose sides are no multiples of ``multiple`` are padded by reflection before they are
    encoded, and cropped after they are decoded.

    Arguments:
        inner: The prior of latents.
        encoder: Map from images ``(B, C, H, W)`` to latents ``(B, *inner.shape)``.
        decoder: Map from latents to images.
        stride: Pixels per latent, along each side.
        multiple: The sides of encoded images are multiples of it. By default ``stride``.
        stays: Whether ``to`` leaves the prior where it is, because its networks move by themselves
            between the devices (offloading).

    Attributes:
        size: (H, W) of its images. Before ``for_shape``, that of whole latents.
    """

    latent: ClassVar[bool] = True

    def __init__(
        self,
        inner: Prior,
        encoder: Callable[[Tensor], Tensor],
        decoder: Callable[[Tensor], Tensor],
        *,
        stride: int = 1,
        multiple: int | None = None,
        stays: bool = False,
    ) -> None:
        super().__init__(inner)
        self.encoder = encoder
        self.decoder = decoder
        self.stride = stride
        self.multiple = multiple or stride
        self.stays = stays
        self.size = tuple(stride * n for n in inner.shape[1:])

    def to(self, *args: Any, **kwargs: Any) -> Self:
        return self if self.stays else super().to(*args, **kwargs)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.inner(x_t, t)

    def encode(self, image: Tensor) -> Tensor:
        return row_by_row(self.encoder, pad_to_multiple(image, self.multiple))

    def decode(self, state: Tensor) -> Tensor:
        x = row_by_row(self.decoder, state)
        return x[..., : self.size[0], : self.size[1]] if len(self.size) == 2 else x

    def with_inner(self, inner: Prior) -> Self:
        """Return the prior of other latents with the same decoder, for images of the same size."""
        prior = self._replace()
        prior._adopt(inner)
        prior.stride = self.stride
        prior.source = self.source
        return prior

    def with_time_shift(self, shape: Sequence[int]) -> Self:
        """Return this prior, whose times ``for_shape`` has set."""
        return self

    def for_shape(self, shape: Sequence[int]) -> Self:
        latents = (self.inner.shape[0], *(self.latents(pixels) for pixels in shape[1:]))
        prior = self.with_inner(self.inner.for_shape(latents).with_time_shift(latents))
        prior.size = tuple(shape[1:])
        return prior

    def latents(self, pixels: int) -> int:
        """Return how many latents a side of so many pixels has."""
        return -(-pixels // self.multiple) * self.multiple // self.stride

    def with_image(self, image: Tensor | None = None, hole: Tensor | None = None) -> Prior:
        if not self.sees_image:
            return super().with_image(image, hole)
        blank = self.like.new_zeros(1, 3, *self.size)
        x = blank if image is None else image.to(self.like)
        if self.edits_image:
            if image is None:
                raise UnsuitedError("this network edits an image, and there is none: use sdedit")
            z = self.encode(x)
            return self.map_inner(lambda prior: prior._edit(z))
        cover = torch.ones_like(x[:, :1]) if hole is None else (hole > 0).to(x)
        mask = F.max_pool2d(pad_to_multiple(cover, self.multiple), self.stride)
        condition = torch.cat([mask, self.encode(x * (1 - cover))], 1)
        return self.map_inner(lambda prior: prior._show(image=condition))

    def with_control(self, image: Tensor) -> Prior:
        if not self.takes_control:
            return super().with_control(image)
        if tuple(image.shape[-2:]) != self.size:
            height, width = self.size
            h, w = image.shape[-2:]
            raise ImageError(f"a control image has the image's size, {width}x{height}, not {w}x{h}")
        condition = pad_to_multiple((image.to(self.like) + 1) / 2, self.multiple)
        return self.map_inner(lambda prior: prior._show(control=condition))
