"""Networks that see an image beside the state: what an operator leaves of the one they learn."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..catalog import build
from ..networks._shared import json_bytes
from ..networks.nafunet import CONFIG
from ..networks.unet import UNet, packed_unet
from ..objectives.base import Batch
from ..operators.base import Operator
from ..priors._seeing import seen_image
from ..priors.conditioned import as_image
from .data import Data
from .trainer import Network, Trainer, TrainingConfig

__all__ = ["ConditionTrainer", "SeeingTrainer"]

BLANK = 0.1  # share of the images of which nothing is shown
STREAM = 1  # of the random numbers of what is seen, beside those of a batch


class SeeingTrainer(Trainer, ABC):
    """The training of a network that also sees an image, at a random level of noise.

    The level is drawn evenly from [0, ``augment``]; for a tenth of the images nothing is shown.

    Arguments:
        network: A network that takes the channels of ``seen_image`` beside those of an image.
        images, config, folder, device: As of ``Trainer``.
        augment: The largest level; 0 is no augmentation.
    """

    def __init__(  # noqa: PLR0913 - those of a trainer, and one more
        self,
        network: UNet,
        images: Data,
        config: TrainingConfig,
        folder: Path,
        device: str = "cpu",
        augment: float = 0.0,
    ) -> None:
        super().__init__(network, images, config, folder, device)
        self.augment = augment
        self.seen = torch.empty(0)

    @abstractmethod
    def shown(self, x_0: Tensor) -> Tensor:
        """Return the images that are shown of clean ones."""

    def _draw(self, progress: float) -> tuple[Batch, Tensor | None]:
        batch, labels = super()._draw(progress)
        rng = np.random.default_rng([self.config.seed, self.step, STREAM])
        n = len(batch.x_0)
        levels = torch.from_numpy(
            np.where(rng.random(n) < BLANK, 1.0, self.augment * rng.random(n))
        )
        noise = torch.from_numpy(rng.standard_normal(batch.x_0.shape)).to(batch.x_0)
        self.seen = seen_image(self.shown(batch.x_0), noise, levels, batch.x_0)
        return batch, labels

    def _forward(self, *inputs: Tensor) -> Tensor:
        x, *others = inputs
        return super()._forward(torch.cat([x, self.seen.to(x)], 1), *others)

    def validate(self, network: Network) -> dict[str, float]:
        """Return nothing: the PSNR of an image beside what is left of it says little."""
        return {}

    def _own_files(self) -> dict[str, bytes]:
        """Return the files of the network."""
        network = cast(UNet, self.network)
        return packed_unet(network, self.ema, self.task, {"_objective": self._noted()})


class ConditionTrainer(SeeingTrainer):
    """The training of a ``ConditionedPrior``.

    Arguments:
        operator: The text of the operator.
        network, images, config, folder, device: As of ``SeeingTrainer``.
    """

    def __init__(  # noqa: PLR0913 - those of a trainer, and one more
        self,
        operator: str,
        network: UNet,
        images: Data,
        config: TrainingConfig,
        folder: Path,
        device: str = "cpu",
    ) -> None:
        super().__init__(network, images, config, folder, device)
        self.words = operator
        made: Operator = build(operator, ("operators",))
        self.operator = made.for_shape(network.shape).to(device)

    def shown(self, x_0: Tensor) -> Tensor:
        return as_image(self.operator, self.operator(x_0), x_0.shape[1:])

    def notes(self) -> dict[str, Any]:
        return super().notes() | {"operator": self.words}

    def _packed(self) -> dict[str, bytes]:
        """Return the files of the prior."""
        notes = {"_class_name": "ConditionedPrior", "operator": self.words}
        return {
            CONFIG: json_bytes(notes),
            **{f"network/{name}": data for name, data in self._own_files().items()},
        }
