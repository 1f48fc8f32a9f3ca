"""Autoencoders of diffusers: from images to latents at the scale of the diffusion, and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Decoder", "Encoder", "pixels_per_latent"]

LARGE = 1024**2  # px; larger images pass in overlapping tiles, to save memory


class Encoder(nn.Module):
    """z = (E(x) - shift) scale, where E(x) is the mean of the code; each row by itself.

    Arguments:
        vae: An ``AutoencoderKL``, ``AutoencoderTiny`` or ``VQModel``.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        with _tiling(self.vae, x.shape[-2] * x.shape[-1] > LARGE):
            codes = [self.vae.encode(row.to(self.vae.dtype)) for row in torch.split(x, 1)]
        z = torch.cat([c.latent_dist.mode() if "latent_dist" in c else c.latents for c in codes])
        shift, scale = _affine(self.vae, x)
        return (z.to(x) - shift) * scale


class Decoder(nn.Module):
    """x = D(z / scale + shift), each row by itself.

    Arguments:
        vae: As in ``Encoder``.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae.requires_grad_(False).eval()

    def forward(self, z: Tensor) -> Tensor:
        shift, scale = _affine(self.vae, z)
        codes = (z / scale + shift).to(self.vae.dtype)
        pixels = z.shape[-2] * z.shape[-1] * pixels_per_latent(self.vae) ** 2
        with _tiling(self.vae, pixels > LARGE):
            return torch.cat([self.vae.decode(row).sample for row in torch.split(codes, 1)]).to(z)


def pixels_per_latent(vae: Any) -> int:
    """Return how many pixels a latent covers, along each side."""
    config = vae.config
    levels = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return int(2 ** (len(levels) - 1))


def _affine(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return shift and scale, one per channel or one for all."""
    config = vae.config
    shift = config.get("latents_mean") or config.get("shift_factor") or 0.0
    std = config.get("latents_std") or 1.0
    mean, deviation = (torch.tensor(v).to(like).reshape(-1, 1, 1) for v in (shift, std))
    return mean, config.get("scaling_factor", 1.0) / deviation


@contextmanager
def _tiling(vae: Any, large: bool) -> Iterator[None]:
    """Let an autoencoder work in tiles, or not, for one call; its own setting comes back after."""
    if not isinstance(getattr(vae, "use_tiling", None), bool):  # VQModel has no tiles
        yield
        return
    before = vae.use_tiling
    vae.use_tiling = large
    try:
        yield
    finally:
        vae.use_tiling = before
