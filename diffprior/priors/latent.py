"""Any prior, moved behind a decoder."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor

from .base import Prior

__all__ = ["LatentPrior"]


class LatentPrior(Prior):
    """A prior of latents; likelihoods of pictures reach it through ``decode``.

    Arguments:
        inner: The prior of latents.
        encoder: Pictures ``(B, C, H, W)`` to latents ``(B, *inner.shape)``.
        decoder: The way back.
    """

    latent: ClassVar[bool] = True

    def __init__(
        self, inner: Prior, encoder: Callable[[Tensor], Tensor], decoder: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.inner, self.encoder, self.decoder = inner, encoder, decoder
        self.diffusion, self.shape = inner.diffusion, inner.shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.inner(x_t, t)

    def encode(self, image: Tensor) -> Tensor:
        return self.encoder(image)

    def decode(self, state: Tensor) -> Tensor:
        return self.decoder(state)

    def on(self, shape: Sequence[int]) -> "LatentPrior":
        return LatentPrior(self.inner.on(shape), self.encoder, self.decoder)
