"""A small autoencoder (KL) of images, by the class of diffusers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..objectives.base import row_means
from ..validation import Positive
from .data import Data
from .folders import saved_files
from .runs import Run, RunConfig

__all__ = [
    "AutoencoderConfig",
    "AutoencoderRun",
    "colored",
    "new_autoencoder",
]

GROUPS = 8  # of the norms
LATE = 0.5  # share of the run after which the critic is heard


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(RunConfig):
    """The settings of the training of an autoencoder.

    Arguments:
        channels: Numbers of a latent.
        widths: Width of each level of the encoder and the decoder; each but the first halves the
            sides.
        kl: Weight of KL(q(z | x), N(0, 1)); small, as the prior of the latents comes later.
        spread: Standard deviation of a pixel around what is decoded.
        adversarial: Weight of a critic that tells decoded images from others; 0 is none.
    """

    batch: int = 32
    rate: Positive = 1e-3
    channels: int = 4
    widths: Sequence[int] = (16, 32, 64)
    kl: float = 0.01
    spread: Positive = 0.1
    adversarial: float = 0.0


def new_autoencoder(config: AutoencoderConfig, side: int) -> Any:
    """Return a new ``AutoencoderKL`` of color images.

    Arguments:
        side: Side of the images in pixels.
    """
    from diffusers import AutoencoderKL

    levels = len(config.widths)
    return AutoencoderKL(
        block_out_channels=tuple(config.widths),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=config.channels,
        norm_num_groups=GROUPS,
        sample_size=side,
        scaling_factor=1.0,
    )


class AutoencoderRun(Run):
    """E[|x - D(z)|^2] / (2 spread^2) + kl KL(q(z | x), N(0, 1)), z drawn from q(z | x), a pixel.

    "High-Resolution Image Synthesis with Latent Diffusion Models" (Rombach et al., 2022), sec. 3.1,
    https://arxiv.org/abs/2112.10752. A critic, if there is one, is trained at the same time by the
    hinge loss, and is heard in the second half of the run.

    Arguments:
        images: The images.
        side: Side of the images or crops in pixels.
        config: Settings of the run.
        folder: Folder of the run.
        device: Device.
    """

    name = "autoencoder"

    def __init__(
        self,
        images: Data,
        side: int,
        config: AutoencoderConfig,
        folder: Path,
        device: str = "cpu",
    ) -> None:
        super().__init__(config, folder, {"side": side})
        self.settings = config
        self.images = images.to(device)
        self.side = side
        self.device = torch.device(device)
        self.vae = new_autoencoder(config, side).to(device)
        self.critic = _critic().to(device) if config.adversarial else None
        parts = {"vae": self.vae} | ({"critic": self.critic} if self.critic else {})
        self._train(dict(nn.ModuleDict(parts).named_parameters()))

    def losses(self, rng: np.random.Generator, progress: float) -> Tensor:
        x = colored(self.images.batch(rng, self.config.batch, self.side)[0])
        code = self.vae.encode(x).latent_dist
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(code.mean.shape, generator=generator, device=self.device)
        y = self.vae.decode(code.mean + code.std * noise).sample
        error = row_means((x - y) ** 2) / (2 * self.settings.spread**2)
        losses = error + self.settings.kl * code.kl() / x[0].numel()
        if self.critic is not None:
            losses = losses + self._heard(self.critic, x, y, progress)
        out: Tensor = losses
        return out

    def _heard(self, critic: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Return the loss of the critic, and that of the decoder by a critic that stays."""
        apart = F.relu(1 - critic(x)) + F.relu(1 + critic(y.detach()))
        if progress < LATE:
            return row_means(apart)
        still = {k: v.detach() for k, v in critic.named_parameters()}
        fooled = torch.func.functional_call(critic, still, (y,))
        return row_means(apart) - self.settings.adversarial * row_means(fooled)

    @torch.no_grad()
    def measured(self) -> dict[str, float]:
        """Return the PSNR of held-out images that are encoded and decoded, in dB."""
        x = held_out(self.images, self.side).to(self.device)
        if not len(x):
            return {}
        y = self.vae.decode(self.vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        return {"PSNR": float(-10 * row_means((x - y) ** 2 / 4).log10().mean())}

    def files(self) -> dict[str, bytes]:
        """Return the folder of the autoencoder, as diffusers writes it."""
        return saved_files(self.vae)

    @torch.no_grad()
    def settle(self) -> Any:
        """Return the autoencoder, with the scale at which its latents have a deviation of 1."""
        rng = np.random.default_rng(self.config.seed)
        x = colored(self.images.batch(rng, 256, self.side)[0])
        codes = [self.vae.encode(part).latent_dist.mean for part in torch.split(x, 32)]
        self.vae.register_to_config(scaling_factor=float(f"{1 / torch.cat(codes).std():.4g}"))
        return self.vae.requires_grad_(False).eval()


def colored(x: Tensor) -> Tensor:
    """Return images of uint8 in [-1, 1] with three channels, float32."""
    values = x.float() / 127.5 - 1
    return values.expand(-1, 3, -1, -1).contiguous()


def held_out(images: Data, side: int, most: int = 64) -> Tensor:
    """Return held-out images in [-1, 1], their middle cut out, of shape ``(N, 3, side, side)``."""
    cut = images.held_out(side, most)
    if not cut:
        return torch.empty(0, 3, side, side)
    return colored(torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2))


def _critic() -> nn.Module:
    """Return a network that says of each part of an image whether it was decoded."""
    layers: list[nn.Module] = []
    for inner, outer in ((3, 32), (32, 64)):
        layers += [nn.Conv2d(inner, outer, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(64, 1, 3, padding=1))
