"""The names that other programs give to the layers of a network of diffusers or transformers."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

__all__ = ["aliases"]

RESNET = {  # of a residual block
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {  # outside of the blocks of a U-Net
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
BLOCK = re.compile(
    r"(?P<way>down|up|mid)_block(?:s\.(?P<level>\d+))?\."
    r"(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<i>\d+)\.(?P<rest>.+)"
)
QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
FLUX = {  # of the blocks of Flux and Stable Diffusion 3, as published; several layers are one there
    "double_blocks.{}.img_attn.qkv": ("transformer_blocks.{}.", QKV),
    "double_blocks.{}.img_attn.proj": ("transformer_blocks.{}.", ("attn.to_out.0",)),
    "double_blocks.{}.img_mlp.0": ("transformer_blocks.{}.", ("ff.net.0.proj",)),
    "double_blocks.{}.img_mlp.2": ("transformer_blocks.{}.", ("ff.net.2",)),
    "double_blocks.{}.img_mod.lin": ("transformer_blocks.{}.", ("norm1.linear",)),
    "double_blocks.{}.txt_attn.qkv": ("transformer_blocks.{}.", ADDED),
    "double_blocks.{}.txt_attn.proj": ("transformer_blocks.{}.", ("attn.to_add_out",)),
    "double_blocks.{}.txt_mlp.0": ("transformer_blocks.{}.", ("ff_context.net.0.proj",)),
    "double_blocks.{}.txt_mlp.2": ("transformer_blocks.{}.", ("ff_context.net.2",)),
    "double_blocks.{}.txt_mod.lin": ("transformer_blocks.{}.", ("norm1_context.linear",)),
    "single_blocks.{}.linear1": ("single_transformer_blocks.{}.", (*QKV, "proj_mlp")),
    "single_blocks.{}.linear2": ("single_transformer_blocks.{}.", ("proj_out",)),
    "single_blocks.{}.modulation.lin": ("single_transformer_blocks.{}.", ("norm.linear",)),
}
SD3 = {
    "joint_blocks.{}.x_block.attn.qkv": ("transformer_blocks.{}.", QKV),
    "joint_blocks.{}.x_block.attn.proj": ("transformer_blocks.{}.", ("attn.to_out.0",)),
    "joint_blocks.{}.x_block.mlp.fc1": ("transformer_blocks.{}.", ("ff.net.0.proj",)),
    "joint_blocks.{}.x_block.mlp.fc2": ("transformer_blocks.{}.", ("ff.net.2",)),
    "joint_blocks.{}.context_block.attn.qkv": ("transformer_blocks.{}.", ADDED),
    "joint_blocks.{}.context_block.attn.proj": ("transformer_blocks.{}.", ("attn.to_add_out",)),
    "joint_blocks.{}.context_block.mlp.fc1": ("transformer_blocks.{}.", ("ff_context.net.0.proj",)),
    "joint_blocks.{}.context_block.mlp.fc2": ("transformer_blocks.{}.", ("ff_context.net.2",)),
}
TRANSFORMERS = {"FluxTransformer2DModel": FLUX, "SD3Transformer2DModel": SD3}


def aliases(network: nn.Module) -> dict[str, tuple[nn.Module, ...]]:
    """Return the layers with weights of a network by every name that a file may give to them.

    Beside its own name a layer has the one of the published code of its network, and the one of
    text encoders in earlier versions of transformers; each also with underscores for its dots, as
    kohya writes it. A name stands for several layers if they were one in the published code.
    """
    own = dict(network.named_modules())
    dotted: dict[str, tuple[nn.Module, ...]] = {
        alias: (layer,)
        for name, layer in own.items()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        for alias in _names(name, network)
    }
    for fused, (start, rest) in TRANSFORMERS.get(type(network).__name__, {}).items():
        for i in range(len(own)):
            names = [f"{start.format(i)}{end}" for end in rest]
            if not all(name in own for name in names):
                if start.format(i).rstrip(".") not in own:
                    break
                continue
            dotted[fused.format(i)] = tuple(own[name] for name in names)
    return {k.replace(".", "_"): v for k, v in dotted.items()} | dotted


def _names(name: str, network: nn.Module) -> Iterator[str]:
    yield name
    if type(network).__name__ == "UNet2DConditionModel":
        if (published := _in_unet(name, network.config)) is not None:
            yield published
    elif name.startswith("text_model."):
        yield name.removeprefix("text_model.")
    else:
        yield f"text_model.{name}"


def _in_unet(name: str, config: Any) -> str | None:
    """Return the name of a layer of a U-Net in the code of latent diffusion; None without one."""
    match = BLOCK.fullmatch(name)
    if match is None:
        return UNET.get(name)
    way, kind, rest, i = match["way"], match["kind"], match["rest"], int(match["i"])
    inner = RESNET.get(rest) if kind == "resnets" else rest
    if inner is None:
        return None
    place = 1 if kind == "attentions" else 0
    if way == "mid":
        return f"middle_block.{1 if place else 2 * i}.{inner}"
    level, layers = int(match["level"]), config["layers_per_block"]
    if not isinstance(layers, int):
        return None
    first = level * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op"
    if kind == "upsamplers":
        attends = "CrossAttn" in config["up_block_types"][level]
        return f"output_blocks.{first + layers}.{2 if attends else 1}.{rest}"
    if way == "down":
        return f"input_blocks.{first + i + 1}.{place}.{inner}"
    return f"output_blocks.{first + i}.{place}.{inner}"
