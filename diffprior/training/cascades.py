"""The upsampler of a cascade: images under small ones with noise (conditioning augmentation)."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UnsuitedError
from ..networks._shared import json_bytes
from ..networks.nafunet import CONFIG
from ..networks.unet import UNet
from .conditions import SeeingTrainer
from .labelled import ClassedImages
from .trainer import TrainingConfig

__all__ = ["UpsamplerTrainer", "shrunk"]


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


class UpsamplerTrainer(SeeingTrainer):
    """The training of a network that also sees the small image, at a random level of noise.

    Arguments:
        network, images, config, folder, device: As of ``SeeingTrainer``.
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
        super().__init__(network, images, config, folder, device, augment)
        self.base: dict[str, bytes] = {}

    def shown(self, x_0: Tensor) -> Tensor:
        return F.avg_pool2d(x_0, 2)

    def notes(self) -> dict[str, Any]:
        return super().notes() | {"augment": self.augment}

    def _packed(self) -> dict[str, bytes]:
        """Return the files of the cascade."""
        notes = {"_class_name": "CascadePrior"}
        return {
            CONFIG: json_bytes(notes),
            **{f"base/{name}": data for name, data in self.base.items()},
            **{f"upsampler/{name}": data for name, data in self._own_files().items()},
        }
