"""A prior in the latents of an autoencoder, trained after it, or together with it (LSGM)."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..catalog import build
from ..errors import UnsuitedError
from ..networks._shared import json_bytes
from ..networks.nafunet import CONFIG, WEIGHTS
from ..networks.parameterizations import Parameterization
from ..networks.unet import SCHEDULER, UNet, packed_unet
from ..objectives.base import Batch, Denoiser, Objective, Steps
from ..objectives.vlb import VLB
from ..priors.network import NetworkPrior
from .autoencoder import colored, held_out
from .data import Crops, Data
from .folders import saved_files
from .image_files import Image
from .runs import Run, RunConfig, digest, settings_of
from .trainer import Trainer, TrainingConfig, network_task

__all__ = ["INDEX", "JointRun", "LatentTrainer", "Latents", "held_out_loss"]

INDEX = "model_index.json"
DROP = 0.1  # share of the labels that a joint training hides from the network


class Latents(Data):
    """Images as the latents of an autoencoder, drawn from q(z | x) at a deviation of about 1.

    Arguments:
        images: The images.
        vae: The autoencoder, with its scale.
        side: Side of the images or crops in pixels.
    """

    def __init__(self, images: Data, vae: Any, side: int) -> None:
        self.images = images
        self.vae = vae
        self.side = side
        self.scale: float = vae.config.scaling_factor
        self.sources = images.sources
        self.skipped = images.skipped
        self.classes = images.classes
        self.validation: list[Image] = []  # their PSNR is that of images, which these are not

    @property
    def deviation(self) -> float:
        """Standard deviation of the numbers of a latent, by the scale of its autoencoder."""
        return 1.0

    def shape_at(self, side: int) -> tuple[int, int, int]:
        return self.shape

    @property
    def digest(self) -> str:
        """SHA-256 of the weights of the autoencoder, in hexadecimal."""
        return digest(self.vae.state_dict().values())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a latent."""
        side = self.side // 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.latent_channels, side, side

    def to(self, device: str | torch.device) -> Self:
        self.images.to(device)
        self.vae.to(device)
        return self

    def check_room(self, side: int) -> None:
        """Check that the images have room for crops of their own side, which is not ``side``."""
        self.images.check_room(self.side)

    @torch.no_grad()
    def batch(
        self,
        rng: np.random.Generator,
        n: int,
        side: int,
        crops: Crops = Crops(),  # noqa: B008 (frozen)
        rows: slice = slice(None),  # noqa: B008
    ) -> tuple[Tensor, Tensor | None]:
        """Return random latents, float32 of shape ``(n, *shape)``, and the labels of their images.

        Arguments are those of ``Data.batch``; the side is that of the images.
        """
        pixels, labels = self.images.batch(rng, n, self.side, crops, rows)
        code = self.vae.encode(colored(pixels)).latent_dist
        noise = torch.from_numpy(rng.standard_normal(code.mean.shape)).to(code.mean)
        return self.scale * (code.mean + code.std * noise), labels

    @torch.no_grad()
    def means(self) -> Tensor:
        """Return the means of the latents of held-out images, ``(N, *shape)``."""
        x = held_out(self.images, self.side).to(self.vae.device)
        return self.scale * self.vae.encode(x).latent_dist.mean if len(x) else x.new_empty(0)


class LatentTrainer(Trainer):
    """The training of a prior in latents; its result is a pipeline of diffusers.

    Arguments:
        network: Network of latents.
        latents: The latents.
        config, folder, device: As of ``Trainer``.
    """

    def __init__(
        self,
        network: UNet,
        latents: Latents,
        config: TrainingConfig,
        folder: Path,
        device: str = "cpu",
    ) -> None:
        super().__init__(network, latents, config, folder, device)
        self.latents = latents

    def notes(self) -> dict[str, Any]:
        return super().notes() | {"autoencoder": self.latents.digest}

    def measure(self, prior: NetworkPrior) -> dict[str, float]:
        """Return the loss of held-out images at fixed times and noise."""
        return held_out_loss(self, self.latents.means(), prior.network)

    def _packed(self) -> dict[str, bytes]:
        network = cast(UNet, self.network)
        return packed_pipeline(
            network, self.ema, self.task, self.latents.vae, self.config.objective
        )


class JointRun(Run):
    """The bound of -log p(x) over the encoder, the decoder and the prior of the latents at once.

    -E log p(x | z) - H(q(z | x)) + CE(q(z | x), p(z)), in nats a pixel. The cross entropy is the
    variational bound of the prior, so that the encoder also makes latents that it knows well. The
    prior itself learns by its own objective: "Score-based Generative Modeling in Latent Space"
    (LSGM; Vahdat et al., 2021), https://arxiv.org/abs/2106.05931.

    Arguments:
        latents: The images, and an autoencoder that was trained before.
        network: Network of latents.
        objective: Text of the objective of the prior, one of a chain of steps.
        spread: Standard deviation of a pixel around what is decoded.
        config: Settings of the run.
        folder: Folder of the run.

    Raises:
        UnsuitedError: If the objective has no chain of steps.
    """

    name = "joint"

    def __init__(  # noqa: PLR0913 - two networks, and how each is trained
        self,
        latents: Latents,
        network: UNet,
        objective: str,
        config: RunConfig,
        folder: Path,
        spread: float = 0.1,
    ) -> None:
        own = {"objective": objective, "side": latents.side, "autoencoder": latents.digest}
        super().__init__(config, folder, own | settings_of(network))
        self.text = objective
        self.objective: Objective = build(objective, ("objectives",))
        if not isinstance(self.objective, Steps) or self.objective.numbers != 1:
            raise UnsuitedError(
                "--joint trains by the bound of a chain of steps: use simple, v, x0, or vlb with a "
                "fixed variance"
            )
        self.bound = VLB(steps=self.objective.steps, betas=self.objective.betas, levels=False)
        self.latents = latents
        self.device = latents.vae.device
        self.network = network.to(self.device)
        self.spread = spread
        self.task: Parameterization = network_task(self.objective, network)
        self.vae = latents.vae.requires_grad_(True).train()
        parts = nn.ModuleDict({"vae": self.vae, "network": self.network})
        self._train(dict(parts.named_parameters()))

    def losses(self, rng: np.random.Generator, progress: float) -> Tensor:
        pixels, labels = self.latents.images.batch(rng, self.config.batch, self.latents.side)
        labels = labels if self.network.classes else None
        if labels is not None:
            dropped = torch.from_numpy(rng.random(len(labels)) < DROP).to(self.device)
            labels = labels.masked_fill(dropped, self.network.classes)
        seed = int(rng.integers(2**62))
        z, terms = self.terms(colored(pixels), seed, labels)
        batch = fixed(self.objective, z.detach(), seed + 1)
        own = self.objective.losses(self._denoiser(labels), batch)
        return terms + own.to(terms)

    def terms(self, x: Tensor, seed: int, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return latents of images and the bound of each image, in nats a number, ``(B,)``.

        Arguments:
            x: Images in [-1, 1], of shape ``(B, 3, H, W)``.
            seed: Seed of all that is drawn.
            labels: The class of each; by default none.
        """
        code = self.vae.encode(x).latent_dist
        generator = torch.Generator(self.device).manual_seed(seed)
        noise = torch.randn(code.mean.shape, generator=generator, device=self.device)
        z = self.latents.scale * (code.mean + code.std * noise)
        y = self.vae.decode(z / self.latents.scale).sample
        pixels, numbers = x[0].numel(), z[0].numel()
        known = ((x - y) ** 2 / (2 * self.spread**2)).flatten(1).sum(1)
        known = known + pixels * math.log(self.spread * math.sqrt(2 * math.pi))
        deviations = (code.std * self.latents.scale).log().flatten(1).sum(1)
        entropy = deviations + numbers / 2 * math.log(2 * math.pi * math.e)
        batch = fixed(self.bound, z, seed + 1)
        bits = self.bound.losses(self._denoiser(labels), batch)
        cross = numbers * math.log(2) * bits.float()
        return z, (known - entropy + cross) / pixels

    def _denoiser(self, labels: Tensor | None) -> Denoiser:
        return Denoiser(network=self.network, parameterization=self.task, labels=labels)

    @torch.no_grad()
    def measured(self) -> dict[str, float]:
        """Return the bound of held-out images, in nats a number, at fixed times and noise."""
        x = held_out(self.latents.images, self.latents.side).to(self.device)
        return {"bound": float(self.terms(x, 0)[1].mean())} if len(x) else {}

    def files(self) -> dict[str, bytes]:
        """Return the pipeline."""
        state = self.network.state_dict()
        return packed_pipeline(self.network, state, self.task, self.vae, self.text)


@torch.no_grad()
def held_out_loss(trainer: Trainer, z: Tensor, network: Any) -> dict[str, float]:
    """Return the loss of states under no class, at fixed times and noise; nothing of no states.

    Arguments:
        trainer: Whose objective it is.
        z: The states.
        network: The averaged network.
    """
    if not len(z):
        return {}
    classes = trainer.network.classes
    labels = torch.full((len(z),), classes, device=z.device) if classes else None
    denoiser = Denoiser(network=network, parameterization=trainer.task, labels=labels)
    losses = trainer.objective.losses(denoiser, fixed(trainer.objective, z))
    return {"held_out": float(losses.mean())}


def fixed(objective: Objective, z: Tensor, seed: int = 0) -> Batch:
    """Return a batch whose times and noise a seed decides; times are spread over their law."""
    generator = torch.Generator(z.device).manual_seed(seed)
    rng = np.random.default_rng(seed)
    levels = (rng.permutation(len(z)) + rng.random(len(z))) / len(z)
    t = objective.times(torch.from_numpy(levels))
    return objective.batch(z, t.float().to(z.device), objective.noises(z.shape, generator))


def packed_pipeline(
    network: UNet,
    weights: Mapping[str, Tensor],
    own: Parameterization,
    vae: Any,
    objective: str,
) -> dict[str, bytes]:
    """Return the files of a latent pipeline, by their names, as diffusers reads them.

    Arguments:
        network: The network of latents.
        weights: Written in the place of those of the network.
        own: What it takes and says.
        vae: The autoencoder.
        objective: The text of what it was trained by.
    """
    files = packed_unet(network, weights, own, {"_objective": objective})
    scheduler = json.loads(files[SCHEDULER])["_class_name"]
    index = {
        "_class_name": "LDMPipeline",
        "scheduler": ["diffusers", scheduler],
        "unet": ["diffusers", "UNet2DModel"],
        "vqvae": ["diffusers", "AutoencoderKL"],
    }
    return {
        INDEX: json_bytes(index),
        f"scheduler/{SCHEDULER}": files[SCHEDULER],
        f"unet/{CONFIG}": files[CONFIG],
        f"unet/{WEIGHTS}": files[WEIGHTS],
        **{f"vqvae/{name}": data for name, data in saved_files(vae).items()},
    }
