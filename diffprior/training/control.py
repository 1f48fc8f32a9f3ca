"""A ControlNet of a text-to-image model, trained on images and their control images."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import UnsuitedError
from ..networks.text_to_image import StableDiffusion
from .folders import saved_files
from .runs import Run, RunConfig
from .text_model import Draws, Rows, TextModel

__all__ = ["ControlRun"]

WIDTHS = (16, 32, 96, 256)  # of the layers that shrink a control image, each to a half
BLANK = 0.1  # share of the images that are shown without their text


class ControlRun(Run):
    """A copy of the encoder of a U-Net learns to follow control images.

    Its output passes convolutions of zeros, so that at first the model answers as without it:
    "Adding Conditional Control to Text-to-Image Diffusion Models" (Zhang et al., 2023),
    https://arxiv.org/abs/2302.05543. A tenth of the texts is hidden, for guidance. The network is
    the ``ControlNetModel`` of diffusers.

    Arguments:
        model: The model; its family gets the ControlNet.
        rows: Images with control images.
        config: Settings of the run.
        folder: Folder of the run.

    Raises:
        UnsuitedError: If the model is none of Stable Diffusion 1, 2 and XL.
    """

    name = "controlnet"

    def __init__(self, model: TextModel, rows: Rows, config: RunConfig, folder: Path) -> None:
        notes = {"model": model.prior.sha256, "images": len(rows)}
        super().__init__(config, folder, notes)
        if not isinstance(model.family, StableDiffusion):
            raise UnsuitedError("a ControlNet is trained for Stable Diffusion 1, 2 and XL")
        self.model = model
        self.rows = rows
        self.blank = model.family.encode_prompt("")
        self.network = _copied(model).to(model.device)
        model.family.controlnet = self.network
        self._train(dict(self.network.named_parameters()))

    def losses(self, rng: np.random.Generator, progress: float) -> Tensor:
        batch = self.rows.take(rng.integers(len(self.rows), size=self.config.batch).tolist())
        hidden = rng.random(len(batch)) < BLANK
        conditions = [
            self.blank if hide else own for hide, own in zip(hidden, batch.conditions, strict=True)
        ]
        return self.model.errors(Rows(batch.z, conditions, batch.control), Draws.of(rng, batch.z))

    def measured(self) -> dict[str, float]:
        """Return the error at fixed times and noise."""
        return {"error": self.model.measured(self.rows)}

    def files(self) -> dict[str, bytes]:
        """Return the folder of the ControlNet, as diffusers writes it."""
        return saved_files(self.network)


def _copied(model: TextModel) -> Any:
    """Return a ControlNet with the weights of the encoder of the model."""
    from diffusers import ControlNetModel

    halvings = (model.prior.stride - 1).bit_length()
    return ControlNetModel.from_unet(
        model.family.network, conditioning_embedding_out_channels=WIDTHS[: halvings + 1]
    )
