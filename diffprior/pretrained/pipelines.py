"""Latent pipelines of diffusers, opened from a folder as priors of images."""

import json
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from ..networks.autoencoder import Decoder, Encoder, factor
from ..networks.text_to_image import FAMILIES, Family, StableDiffusion, family_of
from ..priors._conditions import conditioned
from ..priors.base import Prior
from ..priors.diffusers import DiffusersPrior, head_of
from ..priors.latent import LatentPrior
from ..priors.prompted import PromptedPrior
from .components import CODERS, INDEX, index, opened, parts, quiet

__all__ = ["load_pipeline"]

NETWORKS, WORDLESS = ("unet", "transformer"), "UNet2DModel"


def load_pipeline(
    folder: Path,
    *,
    prompt: str | None = None,
    negative: str | None = None,
    label: int | None = None,
    guidance: float | None = None,
    lora: Path | str | None = None,
    lora_scale: float = 1.0,
    controlnet: Path | str | None = None,
    control_scale: float = 1.0,
    distilled: float | None = None,
    offload: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Prior:
    """Open a folder that diffusers wrote: its network, its readers of text and its autoencoder.

    Arguments:
        prompt, negative, label, guidance: As of ``diffprior.priors._conditions.conditioned``.
        lora: A file of low-rank changes to its networks, or a folder with one.
        lora_scale: How much of them.
        controlnet: A folder of a ``ControlNetModel``, the pipeline's own where it has one;
            ``diffprior.priors.prompted.controlled`` then gives it its image.
        control_scale: How much of it.
        distilled: The guidance that the network is told of, where it was trained to be (Flux dev,
            latent consistency models); by default that of its pipeline.
        offload: Whether only the network at work is on the GPU; needs CUDA and accelerate.
        dtype: What its weights are held in; states are of float32.
    """
    coder, kind, scheduler = _three(named := parts(folder))
    found = {name: opened(folder, name, *part, dtype) for name, part in named.items()}
    vae, network, head = found[coder], found[kind], head_of(found[scheduler])
    inner: Prior
    if type(network).__name__ == WORDLESS:
        if lora or controlnet or offload:
            raise ValueError("lora, controlnet and offload are for networks that a text steers")
        inner, patch = DiffusersPrior(network.float(), head, label), 1
    else:
        pipe, family = _pipe(network, found, index(folder)), family_of(network)
        control = _controlnet(controlnet, family, dtype) if controlnet else found.get("controlnet")
        if lora:
            _lora(pipe, Path(lora), lora_scale)
        if offload:
            _offload(pipe, control)
        steered, shape = family(pipe, control, control_scale), _shape(network, vae)
        inner, patch = PromptedPrior(steered, head, shape, distilled=distilled), family.patch
    sizes = {"factor": factor(vae), "stride": factor(vae) * patch}
    prior = LatentPrior(inner, Encoder(vae), Decoder(vae), **sizes, stays=offload)
    return conditioned(prior, prompt=prompt, negative=negative, label=label, guidance=guidance)


def _three(named: dict[str, tuple[str, str]]) -> tuple[str, str, str]:
    """Return the names of autoencoder, network and scheduler, which every pipeline has."""
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
            f"its {network} is a {kind}; it is to be a {WORDLESS} or, steered by a "
            f"text, one of {', '.join(FAMILIES)}"
        )
    return coder, network, scheduler


def _pipe(network: Any, found: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Return the pipeline of diffusers that keeps the books of these parts."""
    family = family_of(network)
    if missing := [name for name in family.readers if name not in found]:
        raise ValueError(
            f"its {INDEX} names no {missing[0]}, by which a {family.__name__} reads texts"
        )
    pipeline = getattr(import_module("diffusers"), family.kind)
    flags = {k: v for k, v in settings.items() if isinstance(v, bool)}
    flags |= {"requires_safety_checker": False, "add_watermarker": False}
    known = signature(pipeline).parameters
    with quiet():  # on its scheduler, which is not run
        return pipeline(**{k: flags[k] if k in flags else found.get(k) for k in known})


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
    """Put low-rank changes into a pipeline, or refuse what it has no place for."""
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
