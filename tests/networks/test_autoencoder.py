"""Encoder and decoder of an autoencoder leave it as it was."""

import pytest
import torch
from torch import Tensor

from diffprior.networks import autoencoder
from diffprior.networks.autoencoder import Decoder, Encoder, pixels_per_latent

from support import tiny


@pytest.mark.parametrize("own", [False, True])
def test_tiles_are_for_large_images_and_for_one_call(own: bool, monkeypatch) -> None:
    """The threshold is 16 x 16 pixels here; the autoencoder keeps its own setting."""
    monkeypatch.setattr(autoencoder, "LARGE", 16 * 16)
    vae, seen = tiny.vae(), []
    vae.use_tiling = own
    stride = pixels_per_latent(vae)

    def note(*_: object) -> None:
        seen.append(vae.use_tiling)

    vae.encoder.register_forward_hook(note)
    vae.decoder.register_forward_hook(note)
    x = torch.zeros(1, 3, 16, 16)
    z: Tensor = Encoder(vae)(x)
    assert z.shape[-1] * stride == 16
    Decoder(vae)(z)
    assert seen == [False, False] and vae.use_tiling is own
    Encoder(vae)(torch.zeros(1, 3, 32, 16))
    Decoder(vae)(torch.zeros(1, z.shape[1], 32 // stride, 16 // stride))
    assert len(seen) > 3 and all(seen[2:]) and vae.use_tiling is own
