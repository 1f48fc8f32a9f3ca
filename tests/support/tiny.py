"""Tiny random pipelines of diffusers, drawn from configs, with a vocabulary of the letters."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LDMPipeline,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [*LETTERS, *(f"{c}</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
CLIP = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "bos_token_id": len(WORDS) - 2,
    "eos_token_id": len(WORDS) - 1,
    "pad_token_id": len(WORDS) - 1,
}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TRAILING = {"timestep_spacing": "trailing", "set_alpha_to_one": True, "clip_sample": False}


def tokenizer(folder: Path) -> CLIPTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = (str(folder / "vocab.json"), str(folder / "merges.txt"))
    return CLIPTokenizer(*files, model_max_length=16)


def vae(**more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        **{
            "block_out_channels": (8, 16),
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2,
            "norm_num_groups": 4,
            "sample_size": 16,
            "latent_channels": 4,
            "scaling_factor": 0.7,
            **more,
        }
    )


def unet(**more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "block_out_channels": (8, 16),
            "norm_num_groups": 4,
            "layers_per_block": 1,
            "cross_attention_dim": 16,
            "attention_head_dim": 4,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            **more,
        }
    )


def scheduler(**more: Any) -> DDIMScheduler:
    return DDIMScheduler(**BETAS, **TRAILING, steps_offset=1, **more)


def stable_diffusion(folder: Path, **parts: Any) -> StableDiffusionPipeline:
    """Draw, and save, a Stable Diffusion of 16 x 16 images; parts may stand in for its own."""
    torch.manual_seed(0)
    given = {
        "vae": vae(),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**CLIP)),
        "tokenizer": tokenizer(folder / "tokenizer"),
        "unet": unet(),
        "scheduler": scheduler(),
        "safety_checker": None,
        "feature_extractor": None,
    }
    return saved(StableDiffusionPipeline(**given | parts, requires_safety_checker=False), folder)


def unet_xl(readers: int = 2, sizes: int = 6, **more: Any) -> UNet2DConditionModel:
    return unet(
        cross_attention_dim=16 * readers,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * sizes + 12,
        use_linear_projection=True,
        **more,
    )


def stable_diffusion_xl(folder: Path, **parts: Any) -> StableDiffusionXLPipeline:
    torch.manual_seed(0)
    given = {
        "vae": vae(),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**CLIP)),
        "text_encoder_2": projected(12),
        "tokenizer": tokenizer(folder / "tokenizer"),
        "tokenizer_2": tokenizer(folder / "tokenizer_2"),
        "unet": unet_xl(),
        "scheduler": scheduler(),
    }
    return saved(StableDiffusionXLPipeline(**given | parts, add_watermarker=False), folder)


def refiner(folder: Path) -> StableDiffusionXLImg2ImgPipeline:
    """Draw, and save, a refiner of XL: one reader, and a score among what it is told."""
    torch.manual_seed(0)
    pipe = StableDiffusionXLImg2ImgPipeline(
        vae=vae(),
        text_encoder=None,
        text_encoder_2=projected(12),
        tokenizer=None,
        tokenizer_2=tokenizer(folder / "tokenizer_2"),
        unet=unet_xl(readers=1, sizes=5),
        scheduler=scheduler(),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    return saved(pipe, folder)


def stable_diffusion_3(folder: Path, third: bool = True, **flow: Any) -> StableDiffusion3Pipeline:
    """Draw, and save, a Stable Diffusion 3 with its third reader or without."""
    torch.manual_seed(0)
    network = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=2 * 12,
        pos_embed_max_size=64,
    )
    pipe = StableDiffusion3Pipeline(
        vae=vae(shift_factor=0.2, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=projected(12),
        text_encoder_2=projected(12),
        text_encoder_3=t5(32) if third else None,
        tokenizer=tokenizer(folder / "tokenizer"),
        tokenizer_2=tokenizer(folder / "tokenizer_2"),
        tokenizer_3=tokenizer(folder / "tokenizer_3") if third else None,
        transformer=network,
        scheduler=FlowMatchEulerDiscreteScheduler(**flow),
    )
    return saved(pipe, folder)


def flux(
    folder: Path, guidance_embeds: bool = False, in_channels: int = 16, **flow: Any
) -> FluxPipeline:
    torch.manual_seed(0)
    network = FluxTransformer2DModel(
        in_channels=in_channels,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    )
    pipe = FluxPipeline(
        vae=vae(shift_factor=0.2, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModel(CLIPTextConfig(**CLIP)),
        text_encoder_2=t5(32),
        tokenizer=tokenizer(folder / "tokenizer"),
        tokenizer_2=tokenizer(folder / "tokenizer_2"),
        transformer=network,
        scheduler=FlowMatchEulerDiscreteScheduler(**flow),
    )
    return saved(pipe, folder)


def projected(width: int) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(CLIPTextConfig(**CLIP, projection_dim=width))


def t5(width: int) -> T5EncoderModel:
    sizes = {"d_model": width, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=len(WORDS), **sizes)).eval()


def latent_diffusion(folder: Path) -> LDMPipeline:
    """Draw, and save, an unconditional prior of the latents of a ``VQModel``."""
    torch.manual_seed(0)
    blocks = {"block_out_channels": (8, 16), "norm_num_groups": 4}
    vqvae = VQModel(
        **blocks,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=3,
        num_vq_embeddings=64,
        scaling_factor=0.5,
    )
    network = UNet2DModel(
        **blocks,
        sample_size=8,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    return saved(LDMPipeline(vqvae=vqvae, unet=network, scheduler=scheduler()), folder)


def saved(pipe: Any, folder: Path) -> Any:
    pipe.save_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe
