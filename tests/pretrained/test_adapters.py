"""LoRA, ControlNet and networks that see an image, against diffusers' own pipelines."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusion3Pipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
)
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from diffprior.errors import ImageError, PriorError
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior, show_image
from diffprior.samplers.ddim import DDIM

from support import tiny
from support.adapters import controlnet, lora
from support.exact import random

PROMPT, NEGATIVE, SIZE = "a red cat", "dog", {"height": 16, "width": 16}


def floats(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.float32)


def agree(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def sampled(prior: Prior, z: Tensor, steps: int = 8) -> Tensor:
    """Return the x_0 of DDIM's last step, which has nothing of the sigma_min of our schedules."""
    last = torch.tensor(1 / steps, dtype=torch.float64)
    return prior(DDIM(steps=steps - 1)(prior, z, stop=last), last)


def asked(z: Tensor, **more: Any) -> dict[str, Any]:
    """Return what diffusers' pipelines are asked for latents like ours."""
    common = {"negative_prompt": NEGATIVE, "guidance_scale": 7.5, "latents": z}
    return common | {"num_inference_steps": 8, "output_type": "latent", **more}


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_low_rank_changes(tmp_path: Path, scale: float) -> None:
    tiny.stable_diffusion(tmp_path / "sd")
    file = lora(tiny.stable_diffusion(tmp_path / "other"), tmp_path / "lora")
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "sd", safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    z = floats(1, 4, 8, 8)
    plain = pipe(PROMPT, **asked(z), **SIZE).images
    pipe.load_lora_weights(file.parent, weight_name=file.name, adapter_name="a")
    pipe.set_adapters(["a"], [scale])
    expected = pipe(PROMPT, **asked(z), **SIZE).images
    text = {"prompt": PROMPT, "negative_prompt": NEGATIVE}
    prior = load_prior(tmp_path / "sd", lora=file, lora_scale=scale, **text)
    agree(sampled(prior, z), expected)
    assert (expected - plain).abs().max() > 0.01 * plain.abs().max()
    assert prior.sha256 != load_prior(tmp_path / "sd").sha256
    assert prior.source.name == "sd" and [a.kind for a in prior.source.added] == ["lora"]
    assert not any(p.requires_grad for p in prior.parameters())


def test_low_rank_changes_of_a_flow(tmp_path: Path) -> None:
    """Of a transformer, too: scale 0 is none, and twice the scale twice the first order."""
    pipe = tiny.stable_diffusion_3(tmp_path / "sd3", third=False)
    pipe.transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    layers = get_peft_model_state_dict(pipe.transformer)
    StableDiffusion3Pipeline.save_lora_weights(tmp_path / "lora", transformer_lora_layers=layers)
    x_t, t = floats(1, 4, 8, 8), torch.tensor(0.5)
    plain, none, once, twice = (
        load_prior(tmp_path / "sd3", **more)(x_t, t)
        for more in ({}, *({"lora": tmp_path / "lora", "lora_scale": s} for s in (0, 1e-2, 2e-2)))
    )
    torch.testing.assert_close(none, plain)
    gap, ratio = once - plain, (twice - plain).norm() / (once - plain).norm()
    assert gap.abs().max() > 1e-5 and abs(ratio - 2) < 0.05


def test_low_rank_changes_of_another_network_are_refused(tmp_path: Path) -> None:
    tiny.stable_diffusion(tmp_path / "sd")
    wide = tiny.stable_diffusion(tmp_path / "wide", unet=tiny.unet(block_out_channels=(16, 16)))
    for bad in (lora(wide, tmp_path / "lora"), tmp_path / "none.safetensors"):
        with pytest.raises(PriorError, match="lora=.* is no"):
            load_prior(tmp_path / "sd", lora=bad)


@pytest.fixture(scope="module")
def steered(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("steered")
    return folder / "sd", controlnet(tiny.stable_diffusion(folder / "sd"), folder / "net")


CONTROL = {"controlnet_conditioning_scale": 0.8, "height": 16, "width": 24}


def test_a_controlnet_follows_its_image(steered) -> None:
    folder, net = steered
    control, z = floats(1, 3, 16, 24).tanh(), floats(2, 4, 8, 12)
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        folder, controlnet=ControlNetModel.from_pretrained(net), safety_checker=None
    )
    pipe.set_progress_bar_config(disable=True)
    more = asked(z, negative_prompt=[NEGATIVE] * 2, **CONTROL)
    expected = pipe([PROMPT] * 2, image=(control + 1) / 2, **more).images
    settings = {"prompt": PROMPT, "negative": NEGATIVE, "control_scale": 0.8}
    prior = load_prior(folder, controlnet=net, **settings).for_shape((3, 16, 24))
    with pytest.raises(ValueError, match="and got no control image"):
        prior(z, torch.tensor(0.5))
    ours = sampled(prior.with_control(control), z)
    agree(ours, expected)
    assert (sampled(prior.with_control(-control), z) - ours).abs().max() > 0.01 * ours.abs().max()
    with pytest.raises(ImageError, match="a control image has the image's size, 24x16"):
        prior.with_control(control[..., :16])
    with pytest.raises(ValueError, match="needs a prior with a ControlNet"):
        load_prior(folder).with_control(control)
    with pytest.raises(ValueError, match="is not cut: set a larger tile"):
        prior.with_control(control).inner(z[..., :8], torch.tensor(0.5))


def test_a_controlnet_of_xl(tmp_path: Path) -> None:
    pipe = tiny.stable_diffusion_xl(tmp_path / "xl")
    net = controlnet(pipe, tmp_path / "net")
    parts = pipe.components | {"controlnet": ControlNetModel.from_pretrained(net)}
    pipe = StableDiffusionXLControlNetPipeline(**parts, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    control, z = floats(1, 3, 16, 24).tanh(), floats(1, 4, 8, 12)
    expected = pipe(PROMPT, image=(control + 1) / 2, **asked(z, **CONTROL)).images
    settings = {"prompt": PROMPT, "negative": NEGATIVE, "guidance": 7.5, "control_scale": 0.8}
    prior = load_prior(tmp_path / "xl", controlnet=net, **settings).for_shape((3, 16, 24))
    agree(sampled(prior.with_control(control), z), expected)


def test_a_pipeline_with_a_controlnet_of_its_own(steered, tmp_path: Path) -> None:
    folder, net = steered
    own = ControlNetModel.from_pretrained(net)
    parts = StableDiffusionPipeline.from_pretrained(folder).components | {"controlnet": own}
    StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False).save_pretrained(
        tmp_path
    )
    z, control, t = floats(1, 4, 8, 8), floats(1, 3, 16, 16).tanh(), torch.tensor(0.5)
    ours, given = (load_prior(tmp_path), load_prior(folder, controlnet=net))
    assert torch.equal(ours.with_control(control)(z, t), given.with_control(control)(z, t))


def test_a_controlnet_that_is_none_is_refused(steered, tmp_path: Path) -> None:
    folder, _ = steered
    for bad in (tmp_path, folder / "unet"):
        with pytest.raises(PriorError, match="(is no folder of|not) a ControlNetModel"):
            load_prior(folder, controlnet=bad)
    tiny.stable_diffusion_3(tmp_path / "sd3", third=False)
    with pytest.raises(PriorError, match="a ControlNet is for Stable Diffusion 1, 2 and XL"):
        load_prior(tmp_path / "sd3", controlnet=steered[1])


def test_a_network_that_fills_holes(tmp_path: Path) -> None:
    """Nine channels: state, hole, and what is seen of the image, as in the paper."""
    parts = tiny.stable_diffusion(tmp_path, unet=tiny.unet(in_channels=9)).components
    pipe = StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    image, z, hole = floats(1, 3, 16, 16).tanh(), floats(1, 4, 8, 8), torch.zeros(1, 1, 16, 16)
    hole[..., 4:10, 6:12] = 1
    with torch.no_grad():
        code = pipe.vae.encode(image * (1 - hole)).latent_dist.mode() * 0.7
    expected = pipe(
        PROMPT,
        image=(image + 1) / 2,
        mask_image=hole,
        masked_image_latents=code,
        strength=1.0,
        **asked(z),
        **SIZE,
    ).images
    prior = load_prior(tmp_path, prompt=PROMPT, negative_prompt=NEGATIVE)
    agree(sampled(show_image(prior, image, hole), z), expected)
    with pytest.raises(ValueError, match="takes 9 channels, an image in addition to the state"):
        prior(z, torch.tensor(0.5))
    blank = show_image(prior)(z, torch.tensor(0.5))
    agree(show_image(prior, torch.zeros_like(image))(z, torch.tensor(0.5)), blank)


def test_a_network_that_edits_images(tmp_path: Path) -> None:
    """Eight channels: state and image; guided by the image, too, at 1.5."""
    unet = tiny.unet(in_channels=8)
    parts = tiny.stable_diffusion(tmp_path, unet=unet).components
    pipe = StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    image, z = floats(1, 3, 16, 16).tanh(), floats(1, 4, 8, 8)
    expected = pipe(PROMPT, image=(image + 1) / 2, **asked(z, image_guidance_scale=1.5)).images
    prior = load_prior(tmp_path, prompt=PROMPT, negative_prompt=NEGATIVE)
    agree(sampled(show_image(prior, image), z), expected)
    with pytest.raises(ValueError, match="edits an image, and there is none"):
        show_image(prior)


def test_a_network_of_other_channels_is_refused(tmp_path: Path) -> None:
    tiny.stable_diffusion(tmp_path, unet=tiny.unet(in_channels=5))
    with pytest.raises(PriorError, match="takes 5 channels.* is to take 4, 8 .* or 9"):
        load_prior(tmp_path)
