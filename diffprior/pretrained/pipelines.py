"""Latent pipelines of diffusers, opened from a folder as priors of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..networks.autoencoder import Decoder, Encoder, pixels_per_latent
from ..networks.text_to_image import FAMILIES, Family, StableDiffusion, family_of
from ..priors.base import AddedWeights, Prior
from ..priors.latent import LatentPrior
from ..priors.text import TextPrior
from ..validation import ANYWHERE, check
from .checkpoints import read_json
from .components import CODERS, INDEX, NETWORKS, index, opened, parts, place_of, quiet, tell_average
from .diffusers import NetworkSettings, as_trained, parameterization_of, unet_prior
from .lora import merge_lora
from .settings import check_side, several

__all__ = ["PipelineSettings", "load_pipeline"]

WORDLESS = "UNet2DModel"
PIXELS = "UNet2DConditionModel"  # the network that may be one of pixels


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """What a latent pipeline is opened with.

    Attributes:
        prompt, negative_prompt, label, guidance_scale: As in ``Prior.with_condition``.
        lora: A file of low-rank changes to the networks, or a folder with one; or several.
        lora_scale: What they are multiplied by: one number, or one for each.
        controlnet: A folder of a ``ControlNetModel``; by default the pipeline's own, if it has one.
            ``with_control`` of the prior then sets its image.
        control_scale: What the output of the ControlNet is multiplied by.
        distilled: The guidance scale that the network takes as an input, if it does (Flux dev,
            latent consistency models). By default that of its pipeline.
        offload: Whether only the network at work is on the GPU. Needs CUDA and accelerate.
        dtype: Dtype of the weights; states are float32.
    """

    prompt: str | None = None
    negative_prompt: str | None = None
    label: int | None = None
    guidance_scale: float | None = None
    lora: Path | str | Sequence[Path | str] | None = None
    lora_scale: float | Sequence[float] = 1.0
    controlnet: Path | str | None = None
    control_scale: float = 1.0
    distilled: float | None = None
    offload: bool = False
    dtype: torch.dtype = torch.float32

    @property
    def added(self) -> tuple[AddedWeights, ...]:
        """Return the weights that these settings add."""
        pairs: list[tuple[str, Path | str | None, float]] = [
            ("lora", place, scale) for place, scale in self.loras
        ]
        pairs.append(("controlnet", self.controlnet, self.control_scale))
        return tuple(AddedWeights(k, Path(v).name, scale) for k, v, scale in pairs if v)

    @property
    def loras(self) -> list[tuple[Path, float]]:
        """Return the files of low-rank changes, each with what it is multiplied by.

        Raises:
            ValueError: If there are not as many scales as files, or one is no finite number.
        """
        places = several(self.lora)
        scale = self.lora_scale
        scales = [scale] * len(places) if isinstance(scale, int | float) else [*scale]
        for one in scales:
            check("lora_scale", one, float, ANYWHERE)
        if len(scales) != len(places):
            raise ValueError(f"lora has {len(places)} files, and lora_scale {len(scales)} numbers")
        return [(Path(place), one) for place, one in zip(places, scales, strict=True)]


def load_pipeline(folder: Path, settings: PipelineSettings) -> Prior:
    """Open a folder that diffusers wrote: network, text encoders, autoencoder and scheduler.

    Without an autoencoder, which the index then says, the network is one of pixels.
    """
    coder, kind, scheduler = _three(named := parts(folder), _is_of_pixels(folder))
    models = {
        name: opened(place_of(folder, name), name, *part, settings.dtype)
        for name, part in named.items()
    }
    tell_average(folder, kind)
    network = models[kind]
    parameterization = parameterization_of(models[scheduler])
    vae: Any = models[coder] if coder is not None else None
    prior: Prior
    if type(network).__name__ == WORDLESS:
        if settings.lora or settings.controlnet or settings.offload:
            raise ValueError("lora, controlnet and offload are for text-to-image networks")
        _check_channels(network, vae.config.latent_channels)
        plain = unet_prior(network.float(), parameterization)
        prior = as_trained(plain, place_of(folder, kind), NetworkSettings(label=settings.label))
        patch = 1
    else:
        family = _family(network, models, index(folder), settings)
        prior = TextPrior(
            family, parameterization, _shape(network, vae), distilled=settings.distilled
        )
        patch = family.patch
    if vae is not None:
        stride = pixels_per_latent(vae)
        prior = LatentPrior(
            prior,
            Encoder(vae),
            Decoder(vae),
            stride=stride,
            multiple=stride * patch,
            stays=settings.offload,
        )
    elif settings.offload or settings.controlnet:
        raise ValueError("controlnet and offload are for networks of latents")
    return prior.with_condition(
        prompt=settings.prompt,
        negative_prompt=settings.negative_prompt,
        label=settings.label,
        guidance_scale=settings.guidance_scale,
    )


def _is_of_pixels(folder: Path) -> bool:
    """Return whether a pipeline says that it has no autoencoder, as one that was trained here."""
    return all(index(folder).get(name) in (None, [None, None]) for name in CODERS)


def _family(
    network: Any, models: dict[str, Any], flags: dict[str, Any], settings: PipelineSettings
) -> Family:
    """Return the network with its text encoders, and with the weights that are added."""
    pipe = _pipe(network, models, flags)
    family = family_of(network)
    control = models.get("controlnet")
    if settings.controlnet:
        control = _controlnet(settings.controlnet, family, settings.dtype)
    changed = {"network": network} | {
        k: v for k, v in models.items() if k.startswith("text_encoder") and isinstance(v, nn.Module)
    }
    for place, scale in settings.loras:
        merge_lora(changed, place, scale)
    if settings.offload:
        _offload(pipe, control)
    return family(pipe, control, settings.control_scale)


def _three(named: dict[str, tuple[str, str]], of_pixels: bool) -> tuple[str | None, str, str]:
    """Return the names of the autoencoder, the network and the scheduler of a pipeline.

    Arguments:
        named: Its parts.
        of_pixels: Whether it has no autoencoder.
    """
    coder, network, scheduler = [
        next((name for name in names if name in named), None)
        for names in (CODERS, NETWORKS, ("scheduler",))
    ]
    if (coder is None) != of_pixels or network is None or scheduler is None:
        raise ValueError(
            f"its {INDEX} is to name a vae, a unet or transformer, and a scheduler; it names "
            f"{', '.join(named)}"
        )
    if of_pixels and named[network][1] != PIXELS:
        raise ValueError(f"a pipeline without a vae has a {PIXELS}, and no {named[network][1]}")
    if (kind := named[network][1]) not in (WORDLESS, *FAMILIES):
        raise ValueError(
            f"its {network} is a {kind}; it is to be a {WORDLESS} or, for "
            f"prompts, one of {', '.join(FAMILIES)}"
        )
    return coder, network, scheduler


def _pipe(network: Any, models: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Return the pipeline of diffusers with these parts."""
    family = family_of(network)
    if missing := [name for name in family.readers if name not in models]:
        raise ValueError(
            f"its {INDEX} names no {missing[0]}, by which a {family.__name__} reads texts"
        )
    pipeline = getattr(import_module("diffusers"), family.kind)
    flags = {k: v for k, v in settings.items() if isinstance(v, bool)}
    flags |= {"requires_safety_checker": False, "add_watermarker": False}
    known = signature(pipeline).parameters
    with quiet():  # on its scheduler, which is not run
        return pipeline(**{k: flags[k] if k in flags else models.get(k) for k in known})


def _check_channels(network: Any, latents: int) -> None:
    """Refuse a network of latents that sees anything beside them, or makes anything else."""
    inner, outer = network.config.in_channels, network.config.out_channels
    if inner != latents or outer not in (latents, 2 * latents):
        raise ValueError(
            f"its network makes {outer} channels of {inner}, and its latents have {latents}: it "
            "sees a second image, as upsamplers do, or another autoencoder belongs to it"
        )


def _shape(network: Any, vae: Any) -> tuple[int, int, int]:
    size = network.config.get("sample_size") or 128
    height, width = (size, size) if isinstance(size, int) else size
    for side in (height, width):
        check_side(side)
    channels = network.config.in_channels if vae is None else vae.config.latent_channels
    return channels, height, width


def _controlnet(folder: Path | str, family: type[Family], dtype: torch.dtype) -> Any:
    if not issubclass(family, StableDiffusion):
        raise ValueError(f"a ControlNet is for Stable Diffusion 1, 2 and XL, not {family.__name__}")
    place = Path(folder)
    if not (place / "config.json").is_file():
        raise ValueError(f"controlnet={str(folder)!r} is no folder of a ControlNetModel")
    kind = read_json(place / "config.json").get("_class_name")
    if kind != "ControlNetModel":
        raise ValueError(f"controlnet={str(folder)!r} holds a {kind}, not a ControlNetModel")
    return opened(place, "controlnet", "diffusers", kind, dtype)


def _offload(pipe: Any, control: Any) -> None:
    if not torch.cuda.is_available() or find_spec("accelerate") is None:
        raise ValueError("offload needs a CUDA device, and the package accelerate")
    pipe.enable_model_cpu_offload()
    if control is not None:
        control.to(pipe._execution_device)
