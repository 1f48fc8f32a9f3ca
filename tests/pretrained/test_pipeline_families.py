"""SDXL, SD3 and Flux as priors, each against diffusers' own pipeline on a tiny model."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
)
from torch import Tensor

import diffprior
from diffprior.errors import PriorError
from diffprior.networks import parameterizations
from diffprior.pretrained.diffusers import parameterization_of
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior
from diffprior.priors.guided import GuidedPrior
from diffprior.runtime.placement import prepare_prior
from diffprior.samplers.ddim import DDIM
from diffprior.schedules import Rectified

from support import tiny
from support.exact import random

PROMPT, NEGATIVE, SIZE = "a red cat", "dog", {"height": 16, "width": 16}


def floats(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.float32)


def agree(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def sampled(prior: Prior, z: Tensor, steps: int = 8, start: float = 1.0) -> Tensor:
    """Return the x_0 of DDIM's last step, which has nothing of the sigma_min of our schedules."""
    last, count = torch.tensor(1 / steps, dtype=torch.float64), round(start * steps) - 1
    return prior(DDIM(steps=count)(prior, z, start=start, stop=last), last)


@pytest.fixture
def straight(monkeypatch) -> None:
    """Let the straight path reach its ends as diffusers' does."""
    monkeypatch.setattr(parameterizations, "Rectified", partial(Rectified, floor=1e-6))


@pytest.mark.parametrize("negative", [NEGATIVE, None])
def test_stable_diffusion_xl(tmp_path: Path, negative: str | None) -> None:
    """Two readers, the size told; without a negative prompt its embedding is zeros."""
    pipe, z = tiny.stable_diffusion_xl(tmp_path), floats(2, 4, 8, 12)
    expected = pipe(
        [PROMPT] * 2,
        negative_prompt=None if negative is None else [negative] * 2,
        guidance_scale=5.0,
        latents=z,
        num_inference_steps=8,
        height=16,
        width=24,
        output_type="latent",
    ).images
    prior = load_prior(tmp_path, prompt=PROMPT, negative_prompt=negative).for_shape((3, 16, 24))
    agree(sampled(prior, z), expected)
    conditioning = prior.innermost.free.conditioning
    assert all(bool((v == 0).all()) == (negative is None) for v in conditioning.values())


@pytest.mark.parametrize("third", [True, False])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_stable_diffusion_3(tmp_path: Path, straight: None, third: bool, shift: float) -> None:
    pipe, z = tiny.stable_diffusion_3(tmp_path, third, shift=shift), floats(2, 4, 8, 8)
    steps = 8
    expected = pipe(
        [PROMPT] * 2,
        negative_prompt=[NEGATIVE] * 2,
        guidance_scale=7.0,
        latents=z,
        num_inference_steps=steps,
        sigmas=[1 - i / steps for i in range(steps)],
        output_type="latent",
        **SIZE,
    ).images
    agree(sampled(load_prior(tmp_path, prompt=PROMPT, negative_prompt=NEGATIVE), z), expected)


@pytest.mark.parametrize("embeds", [True, False])
def test_flux(tmp_path: Path, straight: None, embeds: bool) -> None:
    """Rows of patches, each with its place; a distilled guidance where its network has one."""
    flow = {"use_dynamic_shifting": True, "base_shift": 0.8, "max_shift": 0.8}
    pipe, z = tiny.flux(tmp_path, embeds, **flow), floats(2, 4, 8, 12)
    packed = pipe._pack_latents(z, 2, 4, 8, 12)
    expected = pipe(
        [PROMPT] * 2,
        latents=packed,
        num_inference_steps=8,
        guidance_scale=5.0,
        height=16,
        width=24,
        output_type="latent",
    ).images
    prior = load_prior(tmp_path, prompt=PROMPT, distilled=5.0).for_shape((3, 16, 24))
    agree(sampled(prior, z), pipe._unpack_latents(expected, 16, 24, 2))
    assert prior.for_shape((3, 17, 21)).shape == (4, 10, 12)


def test_windows_are_of_whole_patches(tmp_path: Path) -> None:
    tiny.stable_diffusion_3(tmp_path, third=False)
    model = prepare_prior(load_prior(tmp_path), (3, 30, 250), tile_size=129, dtype="float32")
    assert model.shape == (4, 16, 126) and model.inner.tile == 66
    with torch.no_grad():
        assert model(floats(1, 4, 16, 126), torch.tensor(0.5)).isfinite().all()


def test_the_shift_of_a_schedule() -> None:
    """s = k t / (1 + (k - 1) t), as diffusers shifts; e^mu where it depends on the image."""
    t = torch.linspace(0.1, 1, 10, dtype=torch.float64)
    for flow, k in (({"shift": 3.0}, 3.0), ({"use_dynamic_shifting": True}, math.exp(1.15))):
        scheduler = FlowMatchEulerDiscreteScheduler(**flow)
        scheduler.set_timesteps(sigmas=t.flip(0).tolist(), mu=1.15)
        expected = scheduler.sigmas[:-1].flip(0).double()
        torch.testing.assert_close(k * t / (1 + (k - 1) * t), expected, rtol=0, atol=1e-6)
        _, sigma = parameterization_of(scheduler).schedule(t)
        torch.testing.assert_close(sigma, 1e-3 + (1 - 1e-3) * expected, rtol=0, atol=1e-6)


def test_generate_walks_a_flow_evenly_in_time(tmp_path: Path) -> None:
    tiny.flux(tmp_path)
    out = diffprior.generate(prior=load_prior(tmp_path), width=20, height=16, steps=2, prompt="cat")
    assert out.image.size == (20, 16) and "grid='time'" in out.report["sampler"]


def test_a_refiner_of_xl(tmp_path: Path) -> None:
    """The second reader alone; told 6 of 10 with the prompt, and 2.5 with what to avoid."""
    pipe, z = tiny.refiner(tmp_path), floats(2, 4, 8, 12)
    expected = pipe(
        [PROMPT] * 2,
        image=z,
        negative_prompt=[NEGATIVE] * 2,
        guidance_scale=5.0,
        num_inference_steps=8,
        denoising_start=0.5,  # the image is the state at t = 0.5
        original_size=(16, 24),
        target_size=(16, 24),
        output_type="latent",
    ).images
    prior = load_prior(tmp_path, prompt=PROMPT, negative_prompt=NEGATIVE).for_shape((3, 16, 24))
    agree(sampled(prior, z, start=0.5), expected)
    image = floats(1, 3, 16, 24).sigmoid()
    settings = {"prior": prior, "strength": 0.3, "steps": 3, "dtype": "float32"}
    assert not torch.equal(diffprior.sdedit(image, **settings).image, image)


@pytest.mark.parametrize("xl", [False, True])
def test_a_latent_consistency_model(tmp_path: Path, xl: bool) -> None:
    """One step of its pipeline is x_0 at t = 1; the guidance is one that its network embeds."""
    z = floats(1, 4, 8, 8)
    torch.manual_seed(0)
    if xl:
        pipe = tiny.stable_diffusion_xl(tmp_path, unet=tiny.unet_xl(time_cond_proj_dim=15))
    else:
        more = {
            "unet": tiny.unet(time_cond_proj_dim=15),
            "scheduler": LCMScheduler(**tiny.BETAS, steps_offset=1),
        }
        parts = tiny.stable_diffusion(tmp_path, **more).components
        pipe = LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
    asked = {"latents": z, "num_inference_steps": 1, "output_type": "latent", **SIZE}
    for guidance in (8.5, 3.0):
        expected = pipe(PROMPT, guidance_scale=guidance, **asked).images
        prior = load_prior(tmp_path, prompt=PROMPT, guidance_scale=guidance)
        assert not isinstance(prior.innermost, GuidedPrior)
        agree(prior(z, torch.ones(())), expected)
    usual = load_prior(tmp_path, prompt=PROMPT)
    agree(usual(z, torch.ones(())), pipe(PROMPT, guidance_scale=8.5, **asked).images)
    with pytest.raises(PriorError, match="negative_prompt='dog' needs a guidance_scale above 1"):
        load_prior(tmp_path, prompt=PROMPT, negative_prompt=NEGATIVE)
    against = load_prior(tmp_path, prompt=PROMPT, negative_prompt=NEGATIVE, guidance_scale=2.0)
    assert isinstance(against.innermost, GuidedPrior) and against.innermost.scale == 2.0


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize("size", [(16, 24), (32, 32)])
def test_the_shift_grows_with_the_image(tmp_path: Path, straight: None, kind, size) -> None:
    """mu is linear in the tokens that Flux and Stable Diffusion 3 see."""
    flow = {"use_dynamic_shifting": True, "base_image_seq_len": 16, "max_image_seq_len": 128}
    flow |= {"base_shift": 0.4, "max_shift": 1.5, "time_shift_type": kind}
    (h, w), common = size, {"num_inference_steps": 8, "output_type": "latent"}
    z, steps = floats(1, 4, h // 2, w // 2), [1 - i / 8 for i in range(8)]
    asked = {"height": h, "width": w, **common}
    pipe = tiny.flux(tmp_path / "flux", **flow)
    packed = pipe._pack_latents(z, 1, 4, h // 2, w // 2)
    expected = pipe(PROMPT, latents=packed, **asked).images
    prior = load_prior(tmp_path / "flux", prompt=PROMPT).for_shape((3, h, w))
    agree(sampled(prior, z), pipe._unpack_latents(expected, h, w, 2))
    pipe = tiny.stable_diffusion_3(tmp_path / "sd3", third=False, **flow)
    expected = pipe(PROMPT, negative_prompt="", latents=z, sigmas=steps, **asked).images
    prior = load_prior(tmp_path / "sd3", prompt=PROMPT)
    agree(sampled(prepare_prior(prior, (3, h, w), dtype="float32"), z), expected)


def test_windows_have_the_times_of_one_of_them(tmp_path: Path) -> None:
    """Each is one of the same states, and sees but so many tokens."""
    flow = {"use_dynamic_shifting": True, "base_image_seq_len": 16, "max_image_seq_len": 8192}
    tiny.stable_diffusion_3(tmp_path, third=False, **flow)
    prior, t = load_prior(tmp_path, prompt=PROMPT, guidance_scale=2.0), torch.tensor(0.5)
    cut = prepare_prior(prior, (3, 130, 250), tile_size=130, dtype="float32")
    one = prepare_prior(prior, (3, 130, 128), dtype="float32")
    whole = prepare_prior(prior, (3, 130, 250), dtype="float32")
    shift = [p.diffusion.schedule.shift for p in (cut, one, whole)]
    assert shift[0] == shift[1] < shift[2]
    assert cut.innermost.conditional.parameterization.schedule == cut.diffusion.schedule
    z = floats(1, 4, 66, 126)
    window = cut.inner.inner.for_shape((4, 66, 64))
    assert window.diffusion.schedule == cut.diffusion.schedule
    with torch.no_grad():
        corner = cut(z, t)[..., :1, :1]
        torch.testing.assert_close(corner, window(z[..., :64], t)[..., :1, :1])


def test_a_image_beside_is_for_stable_diffusion(tmp_path: Path) -> None:
    """A Flux of twice the channels is shown images in another way, which is not known here."""
    tiny.flux(tmp_path, in_channels=32)
    with pytest.raises(
        PriorError, match="takes 8 channels, and its latents have 4: it is to take 4$"
    ):
        load_prior(tmp_path)
