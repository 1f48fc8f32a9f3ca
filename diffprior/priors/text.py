"""Text-to-image networks: priors of the images that a prompt describes."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ..batching import row_by_row
from ..diffusions import GaussianDiffusion
from ..errors import ImageError, SettingError, UnsuitedError
from ..networks.parameterizations import Parameterization
from ..networks.text_to_image import Conditioning, Family
from ._conditions import ConditionalPrior
from .base import Prior
from .guided import unguided

__all__ = ["TextPrior", "text_prior"]


class TextPrior(ConditionalPrior):
    """E[x_0 | x_t, text] of a text-to-image network, usually one of latents.

    Arguments:
        family: The network, and how it reads prompts.
        parameterization: What the network takes, and what its output means.
        shape: Shape of one state, ``(C, H, W)``; ``for_shape`` returns the prior of another size.
        text: The prompt; None is no prompt.
        distilled: The guidance scale that the network takes as an input, if it does. By default
            that of its family.
    """

    def __init__(
        self,
        family: Family,
        parameterization: Parameterization,
        shape: Sequence[int],
        text: str | None = None,
        distilled: float | None = None,
    ) -> None:
        super().__init__()
        self.family = family
        self.shape = tuple(shape)
        self.parts = nn.ModuleList(family.parts).requires_grad_(False).eval()
        self.parameterization = parameterization.with_time_shift(self._tokens(shape))
        self.diffusion = GaussianDiffusion(self.parameterization.schedule)
        self.consistency = self.parameterization.consistency
        self.reads_text = True
        self.text = text
        self.conditioning = family.encode_prompt(text)
        self.inputs = Conditioning()
        self.usual_guidance = family.guidance
        self.embeds_guidance = family.embeds
        self.distilled = family.distilled if distilled is None else distilled
        extra = family.channels - self.shape[0]
        latents = self.shape[0]
        self.sees_image = extra > 0
        self.edits_image = extra == latents
        self.takes_control = family.controlnet is not None
        if extra not in (0, *family.image_channels(latents)):
            edits = (
                f", {2 * latents} (an image to edit) or {2 * latents + 1} (an image and its hole)"
            )
            raise UnsuitedError(
                f"its network takes {family.channels} channels, and its latents have {latents}: it "
                f"is to take {latents}{edits if family.image_channels(latents) else ''}"
            )

    @property
    def like(self) -> Tensor:
        """Return an empty tensor on the device of the network, at least in float32."""
        weights = super().like.to(self.family.device)
        return weights.float() if weights.dtype in (torch.float16, torch.bfloat16) else weights

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(self.family.network.parameters()).dtype
        return dtype

    @property
    def guidance_scale(self) -> float:
        return self.distilled if self.embeds_guidance else 1.0

    def encode(self, image: Tensor) -> Tensor:
        """Return images as states: without an autoencoder the network may be one of gray images."""
        return image.mean(1, keepdim=True) if self.shape[0] == 1 else image

    @property
    def embedding(self) -> Tensor:
        return self.conditioning["encoder_hidden_states"]

    def with_embedding(self, embedding: Tensor) -> Self:
        return self._replace(conditioning=self.conditioning | {"encoder_hidden_states": embedding})

    def for_text(self, text: str | None, negative: bool = False) -> Self:
        return self._replace(text=text, conditioning=self.family.encode_prompt(text, negative))

    def with_embedded_guidance(self, scale: float) -> Self:
        return self._replace(distilled=scale)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self._check(x_t)
        x, time = self.parameterization.inputs(x_t, t)
        out = row_by_row(lambda part: self._call(part, time), x)
        return self.parameterization.denoised(x_t, t, out.to(x_t))

    def _call(self, x: Tensor, time: Tensor) -> Tensor:
        steps = torch.full((len(x),), float(time), dtype=torch.float32, device=x.device)
        conditioning = self.conditioning | self.inputs
        if self.embeds_guidance:
            conditioning |= {"distilled": torch.full_like(steps, self.distilled)}
        return self.family.forward(x.to(self.dtype), steps, conditioning)

    def _check(self, x_t: Tensor) -> None:
        """Refuse to run a network without the images that it needs."""
        if self.sees_image and "image" not in self.inputs:
            raise UnsuitedError(
                f"this network takes {self.family.channels} channels, an image in addition to the "
                "state, and got none: use sdedit, or with_image of its prior"
            )
        if self.takes_control and "control" not in self.inputs:
            raise SettingError("this prior has a ControlNet, and got no control image")
        pixels = {"image": 1, "control": self.family.pipe.vae_scale_factor}
        sizes = {k: tuple(n // pixels[k] for n in v.shape[-2:]) for k, v in self.inputs.items()}
        if any(size != x_t.shape[-2:] for size in sizes.values()):
            raise SettingError("an image that a network sees is not cut: set a larger tile")

    def _show(self, **inputs: Tensor) -> Self:
        return self._replace(inputs=self.inputs | inputs)

    def _edit(self, z: Tensor) -> Self:
        return self._show(image=z / self.family.pipe.vae.config.scaling_factor)

    def for_shape(self, shape: Sequence[int]) -> Self:
        if len(shape) != 3 or shape[0] != self.shape[0]:
            raise ImageError(f"this prior is one of {self.shape[0]} channels, not {tuple(shape)}")
        return self._replace(shape=tuple(shape))

    def with_time_shift(self, shape: Sequence[int]) -> Self:
        shifted = self.parameterization.with_time_shift(self._tokens(shape))
        if shifted is self.parameterization:
            return self
        return self._replace(
            parameterization=shifted, diffusion=GaussianDiffusion(shifted.schedule)
        )

    def _tokens(self, shape: Sequence[int]) -> int:
        height, width = (n // self.family.patch for n in shape[1:])
        return height * width


def text_prior(prior: Prior) -> TextPrior | None:
    """Return the prior of a prompt inside wrappers and guidance, or None if there is none."""
    leaf = unguided(prior)
    return leaf if isinstance(leaf, TextPrior) else None
