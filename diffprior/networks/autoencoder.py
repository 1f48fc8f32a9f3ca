"""The two maps of an autoencoder of diffusers, on the scale that its diffusion works in."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Decoder", "Encoder", "factor"]

LARGE = 1024**2  # px; larger images go through in tiles that overlap, for memory's sake


class Encoder(nn.Module):
    """z = (E(x) - shift) scale, E(x) being the mean of what training draws; each row alone.

    Arguments:
        vae: An ``AutoencoderKL``, ``AutoencoderTiny`` or ``VQModel``.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        _tiled(self.vae, x.shape[-2] * x.shape[-1] > LARGE)
        codes = [self.vae.encode(row.to(self.vae.dtype)) for row in torch.split(x, 1)]
        z = torch.cat([c.latent_dist.mode() if "latent_dist" in c else c.latents for c in codes])
        shift, scale = _affine(self.vae, x)
        return (z.to(x) - shift) * scale


class Decoder(nn.Module):
    """x = D(z / scale + shift), each row alone.

    Arguments:
        vae: As of ``Encoder``.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae.requires_grad_(False).eval()

    def forward(self, z: Tensor) -> Tensor:
        _tiled(self.vae, z.shape[-2] * z.shape[-1] * factor(self.vae) ** 2 > LARGE)
        shift, scale = _affine(self.vae, z)
        codes = (z / scale + shift).to(self.vae.dtype)
        return torch.cat([self.vae.decode(row).sample for row in torch.split(codes, 1)]).to(z)


def factor(vae: Any) -> int:
    """Return how many pixels a side one latent stands for."""
    config = vae.config
    levels = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return 1 << len(levels) - 1


def _affine(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return shift and scale, one a channel or one for all."""
    config = vae.config
    shift = config.get("latents_mean") or config.get("shift_factor") or 0.0
    std = config.get("latents_std") or 1.0
    mean, deviation = (torch.tensor(v).to(like).reshape(-1, 1, 1) for v in (shift, std))
    return mean, config.get("scaling_factor", 1.0) / deviation


def _tiled(vae: Any, large: bool) -> None:
    if hasattr(vae, "use_tiling"):
        vae.use_tiling = large
