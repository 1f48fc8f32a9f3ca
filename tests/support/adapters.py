"""Adapters of tiny pipelines, in the layouts that diffusers saves."""

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict


def lora(pipe: StableDiffusionPipeline, folder: Path) -> Path:
    """Draw, and save, low-rank changes to the U-Net."""
    config = LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    pipe.unet.add_adapter(config)
    layers = get_peft_model_state_dict(pipe.unet)
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)
    return folder / "pytorch_lora_weights.safetensors"


def controlnet(pipe: Any, folder: Path) -> Path:
    """Draw, and save, a ControlNet whose last layers are not the zeros that they begin as."""
    net = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(8, 16))
    torch.manual_seed(1)
    for parameter in net.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.3)
    net.save_pretrained(folder)
    return folder
