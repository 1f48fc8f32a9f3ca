"""How the networks of text-to-image models are told of a text, and asked: a family a class."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FAMILIES", "Family", "StableDiffusion", "Told", "family_of"]

Told = dict[str, Tensor]  # what a network is told beside the state, of one row


class Family(ABC):
    """A network of latents and its readers of text.

    Arguments:
        pipe: A pipeline of diffusers, for its components and their bookkeeping; never run.
        controlnet: A network whose answers to a control image are added to those inside.
        strength: What they are multiplied by.

    Attributes:
        kind: That pipeline's class.
        readers: The parts of it that read texts.
        patch: Latents a side that the network takes as one.
        guidance: w of classifier-free guidance where none is given; 1 is none.
        distilled: The guidance that the network is told of, if it is and no other is given.
    """

    kind: ClassVar[str]
    readers: ClassVar[tuple[str, ...]] = ("tokenizer", "text_encoder")
    patch: ClassVar[int] = 1
    guidance: float = 7.5
    distilled: float = 3.5

    def __init__(self, pipe: Any, controlnet: Any = None, strength: float = 1.0) -> None:
        self.pipe, self.controlnet, self.strength = pipe, controlnet, strength

    @property
    def network(self) -> Any:
        """Return the network that is asked at every step."""
        return self.pipe.components.get("unet", self.pipe.components.get("transformer"))

    @property
    def parts(self) -> list[nn.Module]:
        """Return the networks that move with a prior."""
        found = [*self.pipe.components.values(), self.controlnet]
        return [part for part in found if isinstance(part, nn.Module)]

    @property
    def channels(self) -> int:
        """Return how many channels the network is given, its state's and others."""
        return int(self.network.config.in_channels)

    @property
    def embeds(self) -> bool:
        """Return whether the network is told of a guidance."""
        return False

    def beside(self, latents: int) -> tuple[int, ...]:
        """Return how many channels more than so many latents the network may be given."""
        return ()

    @property
    def device(self) -> torch.device:
        """Return where the network computes, which is not where it waits if it is offloaded."""
        waiting: torch.device = next(self.network.parameters()).device
        return getattr(self.pipe, "_offload_device", None) or waiting

    @abstractmethod
    def read(self, text: str | None, away: bool = False) -> Told:
        """Return what the network is told of a text; None is no text.

        Arguments:
            away: Whether the text is one to move away from.
        """

    @abstractmethod
    def answer(self, x: Tensor, time: Tensor, told: Told) -> Tensor:
        """Return what the network answers to ``x`` at the times ``(B,)`` of its own scale.

        Arguments:
            told: What ``read`` returned; ``beside``, channels that the network is given beside the
                state; ``control``, the control image in [0, 1]; ``distilled``, its guidance.
        """


class StableDiffusion(Family):
    """Versions 1 and 2, and what has their form: latent consistency models, which embed w.

    "Latent Consistency Models" (Luo et al., 2023), https://arxiv.org/abs/2310.04378.
    """

    kind = "StableDiffusionPipeline"

    def __init__(self, pipe: Any, controlnet: Any = None, strength: float = 1.0) -> None:
        super().__init__(pipe, controlnet, strength)
        if self.embeds:
            self.guidance, self.distilled = 1.0, 8.5

    @property
    def embeds(self) -> bool:
        return self.network.config.get("time_cond_proj_dim") is not None

    def beside(self, latents: int) -> tuple[int, ...]:
        return latents, latents + 1

    def read(self, text: str | None, away: bool = False) -> Told:
        states, _ = self.pipe.encode_prompt(text or "", self.pipe.text_encoder.device, 1, False)
        return {"encoder_hidden_states": states}

    def answer(self, x: Tensor, time: Tensor, told: Told) -> Tensor:
        return self.ask(x, time, alike(told, x))

    def ask(self, x: Tensor, time: Tensor, given: dict[str, Any]) -> Tensor:
        """Ask the U-Net, and the ControlNet before it where there is one."""
        control, more = given.pop("control", None), dict[str, Any]()
        distilled = given.pop("distilled", None)
        if self.controlnet is not None:
            down, middle = self.controlnet(
                x,
                time,
                controlnet_cond=control,
                conditioning_scale=self.strength,
                return_dict=False,
                **{k: v for k, v in given.items() if k != "beside"},
            )
            more = {
                "down_block_additional_residuals": down,
                "mid_block_additional_residual": middle,
            }
        if "beside" in given:
            x = torch.cat([x, given.pop("beside")], 1)
        if distilled is not None:
            width = self.network.config.time_cond_proj_dim
            more["timestep_cond"] = sinusoids(distilled - 1, width).to(x)
        out: Tensor = self.pipe.unet(x, time, **given, **more).sample
        return out


class StableDiffusionXL(StableDiffusion):
    """XL: two readers, and the size of the image; where no text is, zeros if it learnt so.

    Its refiner has the second reader alone, and is told how pleasing an image is: 6 of 10, and 2.5
    for what to move away from.
    """

    kind = "StableDiffusionXLPipeline"
    readers = ("tokenizer_2", "text_encoder_2")
    guidance = 5.0

    def read(self, text: str | None, away: bool = False) -> Told:
        device = self.pipe.text_encoder_2.device
        states, _, pooled, _ = self.pipe.encode_prompt(
            text or "", device=device, do_classifier_free_guidance=False
        )
        blank = text is None and self.pipe.config.force_zeros_for_empty_prompt
        told = {"encoder_hidden_states": states, "text_embeds": pooled}
        told = {k: torch.zeros_like(v) for k, v in told.items()} if blank else told
        return told | ({"score": torch.tensor([[2.5 if away else 6.0]])} if self.scores else {})

    @property
    def scores(self) -> bool:
        """Return whether the network is told how pleasing an image is."""
        numbers = self.network.add_embedding.linear_1.in_features
        rest: int = numbers - self.pipe.text_encoder_2.config.projection_dim
        return rest == 5 * int(self.network.config.addition_time_embed_dim)

    def answer(self, x: Tensor, time: Tensor, told: Told) -> Tensor:
        given: dict[str, Any] = alike(told, x)
        height, width = (self.pipe.vae_scale_factor * n for n in x.shape[-2:])
        sizes = time.new_tensor([height, width, 0, 0, height, width]).expand(len(x), 6)
        if "score" in given:
            sizes = torch.cat([sizes[:, :4], given.pop("score").to(time)], 1)
        added = {"text_embeds": given.pop("text_embeds"), "time_ids": sizes}
        return self.ask(x, time, given | {"added_cond_kwargs": added})


class StableDiffusion3(Family):
    """Version 3: three readers, the third of which may be missing, and a transformer."""

    kind, patch = "StableDiffusion3Pipeline", 2
    readers = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2")
    guidance = 7.0

    def read(self, text: str | None, away: bool = False) -> Told:
        device = self.pipe.transformer.device
        states, _, pooled, _ = self.pipe.encode_prompt(
            text or "", None, None, device=device, do_classifier_free_guidance=False
        )
        return {"encoder_hidden_states": states, "pooled_projections": pooled}

    def answer(self, x: Tensor, time: Tensor, told: Told) -> Tensor:
        out: Tensor = self.pipe.transformer(x, timestep=time, **alike(told, x)).sample
        return out


class Flux(Family):
    """Flux.1: patches of 2 x 2 latents in one row, each with its place."""

    kind, patch = "FluxPipeline", 2
    readers = StableDiffusion3.readers
    guidance = 1.0

    @property
    def channels(self) -> int:
        return super().channels // self.patch**2

    @property
    def embeds(self) -> bool:
        return bool(self.network.config.guidance_embeds)

    def read(self, text: str | None, away: bool = False) -> Told:
        device = self.pipe.transformer.device
        states, pooled, _ = self.pipe.encode_prompt(text or "", device=device)
        return {"encoder_hidden_states": states, "pooled_projections": pooled}

    def answer(self, x: Tensor, time: Tensor, told: Told) -> Tensor:
        given, (height, width) = alike(told, x), (n // 2 for n in x.shape[-2:])
        axes = (torch.arange(n, dtype=x.dtype, device=x.device) for n in (1, height, width))
        out = self.pipe.transformer(
            F.pixel_unshuffle(x, 2).flatten(2).mT,
            timestep=time / 1000,
            guidance=given.pop("distilled", None),
            img_ids=torch.cartesian_prod(*axes),
            txt_ids=x.new_zeros(given["encoder_hidden_states"].shape[1], 3),
            **given,
        ).sample
        return F.pixel_shuffle(out.mT.unflatten(2, (height, width)), 2)


def alike(told: Told, x: Tensor) -> dict[str, Tensor]:
    """Return what a batch is told, on its device and, but for a guidance, in its dtype."""
    kind = {"distilled": torch.float32}
    rows = {k: v.to(x.device, kind.get(k, x.dtype)) for k, v in told.items()}
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
