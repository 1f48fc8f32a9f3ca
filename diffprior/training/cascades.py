"""The upsampler of a cascade: images under small ones with noise (conditioning augmentation)."""

import copy
import json
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UnsuitedError
from ..networks.nafunet import CONFIG
from ..networks.unet import UNet, packed_unet
from ..objectives.base import Batch
from ..priors.cascade import seen_image
from .labelled import ClassedImages
from .trainer import Network, Trainer, TrainingConfig

__all__ = ["UpsamplerTrainer", "shrunk"]

BLANK = 0.1  # share of the images whose small one is hidden
STREAM = 1  # of the random numbers of the small images, beside those of a batch


def shrunk(images: ClassedImages) -> ClassedImages:
    """Return images at half the size: each pixel is the mean of 2 x 2.

    Raises:
        UnsuitedError: If their sides are odd.
    """
    side = images.pixels.shape[-1]
    if side % 2:
        raise UnsuitedError(f"--cascade halves the sides of images, and these have {side} pixels")
    small = copy.copy(images)
    small.pixels = F.avg_pool2d(images.pixels.float(), 2).round().to(torch.uint8)
    small.validation = [
        x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).mean((1, 3)).round().astype(np.uint8)
        for x in images.validation
    ]
    return small


class UpsamplerTrainer(Trainer):
    """The training of a network that also sees the small image, at a random level of noise.

    The level is drawn evenly from [0, ``augment``]; a tenth of the images is shown no small one.

    Arguments:
        network: A network that takes the channels of ``seen_image`` beside those of an image.
        images, config, folder, device: As of ``Trainer``.
        augment: The largest level; 0 is no augmentation.

    Attributes:
        base: The files of the prior of the small images.
    """

    def __init__(  # noqa: PLR0913 - those of a trainer, and one more
        self,
        network: UNet,
        images: ClassedImages,
        config: TrainingConfig,
        folder: Path,
        device: str = "cpu",
        augment: float = 0.6,
    ) -> None:
        super().__init__(network, images, config, folder, device)
        self.augment = augment
        self.base: dict[str, bytes] = {}
        self.seen = torch.empty(0)

    def _draw(self, progress: float) -> tuple[Batch, Tensor | None]:
        batch, labels = super()._draw(progress)
        rng = np.random.default_rng([self.config.seed, self.step, STREAM])
        n = len(batch.x_0)
        levels = torch.from_numpy(
            np.where(rng.random(n) < BLANK, 1.0, self.augment * rng.random(n))
        )
        noise = torch.from_numpy(rng.standard_normal(batch.x_0.shape)).to(batch.x_0)
        self.seen = seen_image(F.avg_pool2d(batch.x_0, 2), noise, levels, batch.x_0)
        return batch, labels

    def _forward(self, *inputs: Tensor) -> Tensor:
        x, *others = inputs
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type != "cpu"):
            return self.network(torch.cat([x, self.seen.to(x)], 1), *others)  # type: ignore[no-any-return]

    def validate(self, network: Network) -> dict[str, float]:
        """Return nothing: the PSNR of an image under its small one says little."""
        return {}

    def _packed(self) -> dict[str, bytes]:
        """Return the files of the cascade."""
        notes = {"_class_name": "CascadePrior"}
        network = cast(UNet, self.network)
        own = packed_unet(network, self.ema, self.task, {"_objective": self._noted()})
        return {
            CONFIG: (json.dumps(notes, indent=2) + "\n").encode(),
            **{f"base/{name}": data for name, data in self.base.items()},
            **{f"upsampler/{name}": data for name, data in own.items()},
        }
