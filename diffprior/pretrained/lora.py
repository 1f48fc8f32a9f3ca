"""Low-rank changes (LoRA) of kohya, peft and diffusers, merged into the weights of a network.

Every layer becomes W + s alpha / r B A, with its own rank r and its own alpha, whatever those of
the others are: "LoRA: Low-Rank Adaptation of Large Language Models" (Hu et al., 2021),
https://arxiv.org/abs/2106.09685.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from .checkpoints import read, read_json, tensors_in
from .layer_names import aliases

__all__ = ["merge_lora"]

# one change is several tensors: the name of a layer, and which of them it is
TENSOR = re.compile(
    r"(?P<layer>.+?)(?:"
    r"\.(?P<alpha>(?:lora_)?alpha)|"
    r"\.lora_mid\.weight(?P<mid>)|"
    r"\.(?:lora_down|lora_A(?:\.\w+)?|lora\.down|lora_linear_layer\.down)\.weight(?P<down>)|"
    r"\.(?:lora_up|lora_B(?:\.\w+)?|lora\.up|lora_linear_layer\.up)\.weight(?P<up>))"
)
PROCESSOR = re.compile(r"(.+)\.processor\.(to_[qkv]|to_out)_lora\.(down|up)\.weight")
OTHERS = {  # changes of other kinds, by the names of their tensors
    re.compile(r"\.(?:dora_scale|lora_magnitude_vector)\b"): "DoRA",
    re.compile(r"\.hada_"): "LoHa",
    re.compile(r"\.lokr_"): "LoKr",
    re.compile(r"\.oft_"): "OFT",
    re.compile(r"\.diff(?:_b)?$"): "full differences",
}
NETWORK = "network"
DOTTED = {  # prefixes of the names of layers, each with the part that has them
    "unet.": NETWORK,
    "transformer.": NETWORK,
    "model.diffusion_model.": NETWORK,
    "diffusion_model.": NETWORK,
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
}
FLAT = {
    "lora_unet_": NETWORK,
    "lora_transformer_": NETWORK,
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
}


@dataclass
class Change:
    """The low-rank change of a layer: B, A, a core between them for some convolutions, alpha."""

    up: Tensor | None = None
    down: Tensor | None = None
    mid: Tensor | None = None
    alpha: float | None = None

    def product(self) -> tuple[Tensor, int]:
        """Return B A as a matrix, one row for each output, and its rank."""
        assert self.up is not None and self.down is not None
        rank = self.down.shape[0]
        up, down = self.up.float().flatten(1), self.down.float()
        if self.mid is None:
            return up @ down.flatten(1), rank
        core = torch.einsum("or,rskl,sc->ockl", up, self.mid.float(), down.flatten(1))
        return core.flatten(1), rank


@dataclass(frozen=True)
class Strength:
    """How peft says the alphas of a file: one for all layers, and others by patterns of names."""

    alpha: float | None = None
    patterns: Mapping[str, float] = field(default_factory=dict)
    root: bool = False  # alpha / sqrt(r), as rsLoRA has it

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Strength":
        if config.get("use_dora"):
            raise ValueError("it is DoRA, and only LoRA is added")
        alpha = config.get("lora_alpha")
        patterns = {k: float(v) for k, v in (config.get("alpha_pattern") or {}).items()}
        root = bool(config.get("use_rslora"))
        return cls(None if alpha is None else float(alpha), patterns, root)

    def of_layer(self, layer: str, own: float | None, rank: int) -> float:
        """Return what the product of a layer is multiplied by; without any alpha it is 1."""
        named = (v for k, v in self.patterns.items() if layer == k or layer.endswith(f".{k}"))
        alpha = own if own is not None else next(named, self.alpha)
        return 1.0 if alpha is None else alpha / (sqrt(rank) if self.root else rank)


def merge_lora(parts: Mapping[str, nn.Module], place: Path, scale: float) -> None:
    """Add the low-rank changes of a file to the weights of a pipeline, in place.

    Arguments:
        parts: The network, under the name ``network``, and the text encoders by their names.
        place: A weights file, or a folder with one ``.safetensors`` file.
        scale: What all changes are multiplied by.

    Raises:
        ValueError: If it is no LoRA, or has changes for layers that the pipeline does not have.
    """
    shown = place.name
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else [place]
    if len(files) != 1 or not files[0].is_file():
        raise ValueError(f"lora={shown!r} is no file, and no folder with one .safetensors file")
    try:
        content = dict(tensors_in(read(files[0])))
        changes = _changes(content)
        strengths = _strengths(files[0])
        known = {name: aliases(part) for name, part in parts.items()}
        added = [(*_layers(name, known), name, change) for name, change in changes.items()]
        for part, layers, name, change in added:
            strength = strengths.get(part, strengths.get("", Strength()))
            _add(name, layers, change, strength, scale)
    except ValueError as error:
        raise ValueError(f"lora={shown!r} is none of this network: {error}") from error


def _changes(content: Mapping[str, Tensor]) -> dict[str, Change]:
    """Return the changes in the tensors of a file, by the names that it gives to layers."""
    changes: dict[str, Change] = {}
    for name, tensor in content.items():
        for mark, kind in OTHERS.items():
            if mark.search(name):
                raise ValueError(f"it has {kind} ({name:.80}), and only LoRA is added")
        plain = PROCESSOR.sub(_without_processor, name)
        match = TENSOR.fullmatch(plain)
        if match is None:
            raise ValueError(f"its {name:.100} is no tensor of a LoRA")
        if not tensor.is_floating_point() and match["alpha"] is None:
            raise ValueError(f"its {name:.100} holds {tensor.dtype}, expected weights")
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"its {name:.100} holds numbers that are not finite")
        change = changes.setdefault(match["layer"], Change())
        if match["alpha"] is not None:
            change.alpha = float(tensor)
        else:
            which = next(k for k in ("mid", "down", "up") if match[k] is not None)
            setattr(change, which, tensor)
    for name, change in changes.items():
        if change.up is None or change.down is None:
            raise ValueError(f"it has one half of the change of {name:.100}")
    return changes


def _without_processor(match: re.Match[str]) -> str:
    """Return the name of a tensor as if its layer had it, not a processor of the attention."""
    layer = "to_out.0" if match[2] == "to_out" else match[2]
    return f"{match[1]}.{layer}.lora_{match[3]}.weight"


def _strengths(file: Path) -> dict[str, Strength]:
    """Return what peft noted of the alphas, by the part; under "" for all parts."""
    beside = file.with_name("adapter_config.json")
    if beside.is_file() and file.name.startswith("adapter_model"):
        return {"": Strength.of(read_json(beside))}
    if file.suffix != ".safetensors":
        return {}
    with safe_open(file, "pt") as opened:
        noted = (opened.metadata() or {}).get("lora_adapter_metadata")
    content = json.loads(noted) if noted else {}
    found: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        part, _, setting = key.partition(".")
        found.setdefault(DOTTED.get(f"{part}.", part), {})[setting] = value
    return {part: Strength.of(config) for part, config in found.items()}


def _layers(
    name: str, known: Mapping[str, Mapping[str, tuple[nn.Module, ...]]]
) -> tuple[str, tuple[nn.Module, ...]]:
    """Return the part that a change is for, and the layers of it; several if they were one."""
    plain = name.removeprefix("base_model.model.")
    ways = [(p, part) for p, part in (DOTTED | FLAT).items() if plain.startswith(p)]
    for prefix, part in [*ways, ("", NETWORK)]:
        layers = known.get(part, {}).get(plain.removeprefix(prefix))
        if layers:
            return part, layers
    raise ValueError(f"no layer of it is {name:.120}")


def _add(
    name: str, layers: tuple[nn.Module, ...], change: Change, strength: Strength, scale: float
) -> None:
    """Add the change to its layers, each of which takes as many rows as it has outputs."""
    weights: list[Tensor] = [layer.weight for layer in layers]  # type: ignore[misc]
    rows = [0]
    for weight in weights:
        rows.append(rows[-1] + len(weight))
    try:
        product, rank = change.product()
    except RuntimeError:
        raise ValueError(f"the matrices of {name:.100} do not fit each other") from None
    if product.shape != (rows[-1], weights[0][0].numel()):
        raise ValueError(
            f"the change of {name:.100} has shape {tuple(product.shape)}, its layer "
            f"{(rows[-1], weights[0][0].numel())}"
        )
    factor = scale * strength.of_layer(name, change.alpha, rank)
    with torch.no_grad():
        for weight, (first, last) in zip(weights, pairwise(rows), strict=True):
            delta = factor * product[first:last].reshape(weight.shape)
            weight.copy_(weight.float() + delta)
