"""Latent pipelines of diffusers, opened from a folder as priors of images."""

import json
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from ..networks.autoencoder import Decoder, Encoder, pixels_per_latent
from ..networks.text_to_image import FAMILIES, Family, StableDiffusion, family_of
from ..priors.base import AddedWeights, Prior
from ..priors.latent import LatentPrior
from ..priors.text import TextPrior
from .components import CODERS, INDEX, index, opened, parts, quiet
from .diffusers import NetworkSettings, parameterization_of, unet_prior

__all__ = ["PipelineSettings", "load_pipeline"]

NETWORKS = ("unet", "transformer")
WORDLESS = "UNet2DModel"


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """What a latent pipeline is opened with.

    Attributes:
        prompt, negative_prompt, label, guidance_scale: As in ``Prior.with_condition``.
        lora: A file of low-rank changes to the networks, or a folder with one.
        lora_scale: What they are multiplied by.
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
    lora: Path | str | None = None
    lora_scale: float = 1.0
    controlnet: Path | str | None = None
    control_scale: float = 1.0
    distilled: float | None = None
    offload: bool = False
    dtype: torch.dtype = torch.float32

    @property
    def added(self) -> tuple[AddedWeights, ...]:
        """Return the weights that these settings add."""
        pairs = (
            ("lora", self.lora, self.lora_scale),
            ("controlnet", self.controlnet, self.control_scale),
        )
        return tuple(AddedWeights(k, Path(v).name, scale) for k, v, scale in pairs if v)


def load_pipeline(folder: Path, settings: PipelineSettings) -> Prior:
    """Open a folder that diffusers wrote: network, text encoders, autoencoder and scheduler."""
    coder, kind, scheduler = _three(named := parts(folder))
    models = {name: opened(folder, name, *part, settings.dtype) for name, part in named.items()}
    vae, network = models[coder], models[kind]
    parameterization = parameterization_of(models[scheduler])
    inner: Prior
    if type(network).__name__ == WORDLESS:
        if settings.lora or settings.controlnet or settings.offload:
            raise ValueError("lora, controlnet and offload are for text-to-image networks")
        inner = unet_prior(network.float(), parameterization, _labelled(settings))
        patch = 1
    else:
        family = _family(network, models, index(folder), settings)
        inner = TextPrior(
            family, parameterization, _shape(network, vae), distilled=settings.distilled
        )
        patch = family.patch
    stride = pixels_per_latent(vae)
    prior = LatentPrior(
        inner,
        Encoder(vae),
        Decoder(vae),
        stride=stride,
        multiple=stride * patch,
        stays=settings.offload,
    )
    return prior.with_condition(
        prompt=settings.prompt,
        negative_prompt=settings.negative_prompt,
        label=settings.label,
        guidance_scale=settings.guidance_scale,
    )


def _labelled(settings: PipelineSettings) -> NetworkSettings:
    return NetworkSettings(label=settings.label)


def _family(
    network: Any, models: dict[str, Any], flags: dict[str, Any], settings: PipelineSettings
) -> Family:
    """Return the network with its text encoders, and with the weights that are added."""
    pipe = _pipe(network, models, flags)
    family = family_of(network)
    control = models.get("controlnet")
    if settings.controlnet:
        control = _controlnet(settings.controlnet, family, settings.dtype)
    if settings.lora:
        _lora(pipe, Path(settings.lora), settings.lora_scale)
    if settings.offload:
        _offload(pipe, control)
    return family(pipe, control, settings.control_scale)


def _three(named: dict[str, tuple[str, str]]) -> tuple[str, str, str]:
    """Return the names of the autoencoder, the network and the scheduler of a pipeline."""
    picked = [
        next((name for name in names if name in named), None)
        for names in (CODERS, NETWORKS, ("scheduler",))
    ]
    coder, network, scheduler = picked
    if coder is None or network is None or scheduler is None:
        raise ValueError(
            f"its {INDEX} is to name a vae, a unet or transformer, and a scheduler; it names "
            f"{', '.join(named)}"
        )
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


def _shape(network: Any, vae: Any) -> tuple[int, int, int]:
    size = network.config.get("sample_size") or 128
    height, width = (size, size) if isinstance(size, int) else size
    return vae.config.latent_channels, height, width


def _controlnet(folder: Path | str, family: type[Family], dtype: torch.dtype) -> Any:
    if not issubclass(family, StableDiffusion):
        raise ValueError(f"a ControlNet is for Stable Diffusion 1, 2 and XL, not {family.__name__}")
    place = Path(folder)
    if not (place / "config.json").is_file():
        raise ValueError(f"controlnet={str(folder)!r} is no folder of a ControlNetModel")
    kind = json.loads((place / "config.json").read_text()).get("_class_name")
    if kind != "ControlNetModel":
        raise ValueError(f"controlnet={str(folder)!r} holds a {kind}, not a ControlNetModel")
    return opened(place.parent, place.name, "diffusers", kind, dtype)


def _lora(pipe: Any, place: Path, scale: float) -> None:
    """Add low-rank changes to a pipeline, or refuse those of another network."""
    if find_spec("peft") is None:
        raise ValueError("lora needs the package peft: pip install 'diffprior[latent]'")
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else [place]
    if len(files) != 1 or not files[0].is_file():
        raise ValueError(
            f"lora={str(place)!r} is no file, and no folder with one .safetensors file"
        )
    try:
        with quiet():
            pipe.load_lora_weights(str(files[0].parent), weight_name=files[0].name)
        names = pipe.get_active_adapters()
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"lora={str(place)!r} is none of this network: {error}") from error
    if not names:
        raise ValueError(
            f"lora={str(place)!r} is none of this network: no tensor of it has a place"
        )
    pipe.set_adapters(names, [scale] * len(names))


def _offload(pipe: Any, control: Any) -> None:
    if not torch.cuda.is_available() or find_spec("accelerate") is None:
        raise ValueError("offload needs a CUDA device, and the package accelerate")
    pipe.enable_model_cpu_offload()
    if control is not None:
        control.to(pipe._execution_device)
