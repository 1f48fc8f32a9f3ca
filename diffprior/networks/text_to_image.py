"""Text-to-image networks: how each family reads prompts and is called."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FAMILIES", "Conditioning", "Family", "StableDiffusion", "family_of"]

Conditioning = dict[str, Tensor]  # inputs of a network other than state and time, of one row


class Family(ABC):
    """A text-to-image network and its text encoders.

    Arguments:
        pipe: A pipeline of diffusers, for its components and their bookkeeping; it never runs.
        controlnet: A network that follows a control image; its output is added to features inside.
        strength: What that output is multiplied by.

    Attributes:
        kind: Class name of the pipeline.
        readers: The components that read prompts.
        patch: Side of the squares of latents that the network takes as one token.
        guidance: Default scale of classifier-free guidance; 1 is none.
        distilled: Default guidance scale of a network that takes it as an input.
    """

    kind: ClassVar[str]
    readers: ClassVar[tuple[str, ...]] = ("tokenizer", "text_encoder")
    patch: ClassVar[int] = 1
    guidance: float = 7.5
    distilled: float = 3.5

    def __init__(self, pipe: Any, controlnet: Any = None, strength: float = 1.0) -> None:
        self.pipe = pipe
        self.controlnet = controlnet
        self.strength = strength

    @property
    def network(self) -> Any:
        """Return the network that runs at every step."""
        return self.pipe.components.get("unet", self.pipe.components.get("transformer"))

    @property
    def parts(self) -> list[nn.Module]:
        """Return the networks that move with a prior."""
        parts = [*self.pipe.components.values(), self.controlnet]
        return [part for part in parts if isinstance(part, nn.Module)]

    @property
    def channels(self) -> int:
        """Return how many channels the network takes: those of the state, and others."""
        return int(self.network.config.in_channels)

    @property
    def embeds(self) -> bool:
        """Return whether the network takes a guidance scale as an input."""
        return False

    def image_channels(self, latents: int) -> tuple[int, ...]:
        """Return how many more channels than those of the state the network may take."""
        return ()

    @property
    def device(self) -> torch.device:
        """Return where the network computes; with offloading, it waits somewhere else."""
        waiting: torch.device = next(self.network.parameters()).device
        return getattr(self.pipe, "_offload_device", None) or waiting

    @abstractmethod
    def encode_prompt(self, text: str | None, negative: bool = False) -> Conditioning:
        """Return what the network takes for a prompt, of one row; None is no prompt.

        Arguments:
            text: The prompt.
            negative: Whether guidance moves away from it.
        """

    @abstractmethod
    def forward(self, x: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the output of the network, of the shape of ``x``.

        Arguments:
            x: States, of shape ``(B, C, H, W)``.
            time: Their times on the scale of the network, of shape ``(B,)``.
            conditioning: What ``encode_prompt`` returned. In addition ``image``, channels that the
                network takes after those of the state; ``control``, the control image in [0, 1];
                ``distilled``, the guidance scale.
        """


class StableDiffusion(Family):
    """Versions 1 and 2, and latent consistency models of their form, which take w as an input.

    "Latent Consistency Models" (Luo et al., 2023), https://arxiv.org/abs/2310.04378.
    """

    kind = "StableDiffusionPipeline"

    def __init__(self, pipe: Any, controlnet: Any = None, strength: float = 1.0) -> None:
        super().__init__(pipe, controlnet, strength)
        if self.embeds:
            self.guidance = 1.0
            self.distilled = 8.5

    @property
    def embeds(self) -> bool:
        return self.network.config.get("time_cond_proj_dim") is not None

    def image_channels(self, latents: int) -> tuple[int, ...]:
        return latents, latents + 1

    def encode_prompt(self, text: str | None, negative: bool = False) -> Conditioning:
        states, _ = self.pipe.encode_prompt(text or "", self.pipe.text_encoder.device, 1, False)
        return {"encoder_hidden_states": states}

    def forward(self, x: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        return self._call(x, time, batched(conditioning, x))

    def _call(self, x: Tensor, time: Tensor, inputs: dict[str, Any]) -> Tensor:
        """Call the U-Net, after the ControlNet if there is one."""
        control = inputs.pop("control", None)
        distilled = inputs.pop("distilled", None)
        more: dict[str, Any] = {}
        if self.controlnet is not None:
            down, middle = self.controlnet(
                x,
                time,
                controlnet_cond=control,
                conditioning_scale=self.strength,
                return_dict=False,
                **{k: v for k, v in inputs.items() if k != "image"},
            )
            more = {
                "down_block_additional_residuals": down,
                "mid_block_additional_residual": middle,
            }
        if "image" in inputs:
            x = torch.cat([x, inputs.pop("image")], 1)
        if distilled is not None:
            width = self.network.config.time_cond_proj_dim
            more["timestep_cond"] = sinusoids(distilled - 1, width).to(x)
        out: Tensor = self.pipe.unet(x, time, **inputs, **more).sample
        return out


class StableDiffusionXL(StableDiffusion):
    """XL: two text encoders, and the image size as an input; zeros for no prompt, if trained so.

    Its refiner has the second encoder alone, and takes an aesthetic score: 6 of 10, and 2.5 for
    negative prompts.
    """

    kind = "StableDiffusionXLPipeline"
    readers = ("tokenizer_2", "text_encoder_2")
    guidance = 5.0

    def encode_prompt(self, text: str | None, negative: bool = False) -> Conditioning:
        device = self.pipe.text_encoder_2.device
        states, _, pooled, _ = self.pipe.encode_prompt(
            text or "", device=device, do_classifier_free_guidance=False
        )
        blank = text is None and self.pipe.config.force_zeros_for_empty_prompt
        conditioning = {"encoder_hidden_states": states, "text_embeds": pooled}
        if blank:
            conditioning = {k: torch.zeros_like(v) for k, v in conditioning.items()}
        if self.scores:
            conditioning["score"] = torch.tensor([[2.5 if negative else 6.0]])
        return conditioning

    @property
    def scores(self) -> bool:
        """Return whether the network takes an aesthetic score."""
        numbers = self.network.add_embedding.linear_1.in_features
        rest: int = numbers - self.pipe.text_encoder_2.config.projection_dim
        return rest == 5 * int(self.network.config.addition_time_embed_dim)

    def forward(self, x: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        inputs: dict[str, Any] = batched(conditioning, x)
        height, width = (self.pipe.vae_scale_factor * n for n in x.shape[-2:])
        sizes = time.new_tensor([height, width, 0, 0, height, width]).expand(len(x), 6)
        if "score" in inputs:
            sizes = torch.cat([sizes[:, :4], inputs.pop("score").to(time)], 1)
        added = {"text_embeds": inputs.pop("text_embeds"), "time_ids": sizes}
        return self._call(x, time, inputs | {"added_cond_kwargs": added})


class StableDiffusion3(Family):
    """Version 3: a transformer with three text encoders, of which the third may be missing."""

    kind = "StableDiffusion3Pipeline"
    patch = 2
    readers = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2")
    guidance = 7.0

    def encode_prompt(self, text: str | None, negative: bool = False) -> Conditioning:
        device = self.pipe.transformer.device
        states, _, pooled, _ = self.pipe.encode_prompt(
            text or "", None, None, device=device, do_classifier_free_guidance=False
        )
        return {"encoder_hidden_states": states, "pooled_projections": pooled}

    def forward(self, x: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        out: Tensor = self.pipe.transformer(x, timestep=time, **batched(conditioning, x)).sample
        return out


class Flux(Family):
    """Flux.1: a transformer that takes patches of 2 x 2 latents in one row, with positions."""

    kind = "FluxPipeline"
    patch = 2
    readers = StableDiffusion3.readers
    guidance = 1.0

    @property
    def channels(self) -> int:
        return super().channels // self.patch**2

    @property
    def embeds(self) -> bool:
        return bool(self.network.config.guidance_embeds)

    def encode_prompt(self, text: str | None, negative: bool = False) -> Conditioning:
        device = self.pipe.transformer.device
        states, pooled, _ = self.pipe.encode_prompt(text or "", device=device)
        return {"encoder_hidden_states": states, "pooled_projections": pooled}

    def forward(self, x: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        inputs = batched(conditioning, x)
        height, width = (n // 2 for n in x.shape[-2:])
        axes = (torch.arange(n, dtype=x.dtype, device=x.device) for n in (1, height, width))
        out = self.pipe.transformer(
            F.pixel_unshuffle(x, 2).flatten(2).mT,
            timestep=time / 1000,
            guidance=inputs.pop("distilled", None),
            img_ids=torch.cartesian_prod(*axes),
            txt_ids=x.new_zeros(inputs["encoder_hidden_states"].shape[1], 3),
            **inputs,
        ).sample
        return F.pixel_shuffle(out.mT.unflatten(2, (height, width)), 2)


def batched(conditioning: Conditioning, x: Tensor) -> dict[str, Tensor]:
    """Return the conditioning of a batch, on its device and in its dtype.

    A guidance scale stays in float32.
    """
    kind = {"distilled": torch.float32}
    rows = {k: v.to(x.device, kind.get(k, x.dtype)) for k, v in conditioning.items()}
    return {k: v.expand(len(x), *v.shape[1:]) for k, v in rows.items()}


def sinusoids(w: Tensor, width: int) -> Tensor:
    """Return sines and cosines of 1000 w, ``(B, width)``, at frequencies from 1 to 1e-4."""
    half = width // 2
    rates = torch.logspace(0, -4, half, dtype=w.dtype, device=w.device)
    angles = 1000 * w[:, None] * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width % 2))


def family_of(network: Any) -> type[Family]:
    """Return the family of a network of diffusers."""
    sized = network.config.get("addition_embed_type") == "text_time"
    return StableDiffusionXL if sized else FAMILIES[type(network).__name__]


FAMILIES: dict[str, type[Family]] = {
    "UNet2DConditionModel": StableDiffusion,
    "SD3Transformer2DModel": StableDiffusion3,
    "FluxTransformer2DModel": Flux,
}
