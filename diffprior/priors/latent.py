"""Any prior, moved behind a decoder."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from .base import Prior
from .network import reflect

__all__ = ["LatentPrior"]


class LatentPrior(Prior):
    """A prior of latents; likelihoods of images reach it through ``decode``.

    Images whose sides are no multiple of ``stride`` are padded by reflection when they are
    encoded, and cropped again when they are decoded.

    Arguments:
        inner: The prior of latents.
        encoder: Images ``(B, C, H, W)`` to latents ``(B, *inner.shape)``.
        decoder: The way back.
        factor: Pixels a side of a latent.
        stride: What the sides of encoded images are multiples of; ``factor`` where not given.
        stays: Whether ``to`` leaves it where it is, others moving its networks to and fro.

    Attributes:
        size: (H, W) of its images; those of whole latents where ``for_shape`` has said no other.
    """

    latent: ClassVar[bool] = True

    def __init__(
        self,
        inner: Prior,
        encoder: Callable[[Tensor], Tensor],
        decoder: Callable[[Tensor], Tensor],
        *,
        factor: int = 1,
        stride: int | None = None,
        stays: bool = False,
    ) -> None:
        super().__init__()
        self.inner, self.encoder, self.decoder = inner, encoder, decoder
        self.diffusion, self.shape = inner.diffusion, inner.shape
        self.factor, self.stride, self.stays = factor, stride or factor, stays
        self.size = tuple(factor * n for n in inner.shape[1:])

    @property
    def like(self) -> Tensor:
        return self.inner.like

    @property
    def precision(self) -> torch.dtype:
        """Return what its network computes in."""
        inner: Any = self.inner
        while inner is not None and not hasattr(inner, "precision"):
            inner = getattr(inner, "inner", getattr(inner, "conditional", None))
        return torch.float32 if inner is None else inner.precision

    def to(self, *args: Any, **kwargs: Any) -> Self:
        return self if self.stays else super().to(*args, **kwargs)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.inner(x_t, t)

    def encode(self, image: Tensor) -> Tensor:
        return self.encoder(reflect(image, self.stride))

    def decode(self, state: Tensor) -> Tensor:
        x = self.decoder(state)
        return x[..., : self.size[0], : self.size[1]] if len(self.size) == 2 else x

    def with_inner(self, inner: Prior) -> Self:
        """Return the prior of other latents behind the same decoder, of images of this size."""
        prior = copy.copy(self)
        prior._modules = dict(self._modules)
        prior.inner, prior.diffusion, prior.shape = inner, inner.diffusion, inner.shape
        return prior

    def for_shape(self, shape: Sequence[int]) -> Self:
        """Return this prior for images ``(C, H, W)``."""
        latents = (self.inner.shape[0], *(self.cells(pixels) for pixels in shape[1:]))
        prior = self.with_inner(self.inner.for_shape(latents).with_time_shift(latents))
        prior.size = tuple(shape[1:])
        return prior

    def cells(self, pixels: int) -> int:
        """Return how many latents a side of so many pixels has."""
        return -(-pixels // self.stride) * self.stride // self.factor
