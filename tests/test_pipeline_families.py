"""SDXL, SD3 and Flux as priors, each against diffusers' own pipeline on a tiny model."""

import json
import math
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from conftest import random
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

import diffprior
from diffprior import heads
from diffprior.deploy import ready
from diffprior.pretrained import PriorError, load_prior
from diffprior.priors.base import Prior
from diffprior.priors.conditions import innermost
from diffprior.priors.diffusers import head_of
from diffprior.samplers.ddim import DDIM
from diffprior.schedules import Rectified

PROMPT, NEGATIVE, SIZE = "a red cat", "dog", {"height": 16, "width": 16}


def floats(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.float32)


def agree(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def sampled(prior: Prior, z: Tensor, steps: int = 8) -> Tensor:
    """Return the x_0 of DDIM's last step, which has nothing of the sigma_min of our schedules."""
    last = torch.tensor(1 / steps, dtype=torch.float64)
    return prior(DDIM(steps=steps - 1)(prior, z, stop=last), last)


@pytest.fixture
def straight(monkeypatch) -> None:
    """Let the straight path reach its ends as diffusers' does."""
    monkeypatch.setattr(heads, "Rectified", partial(Rectified, floor=1e-6))


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
    prior = load_prior(tmp_path, prompt=PROMPT, negative=negative).on((3, 16, 24))
    agree(sampled(prior, z), expected)
    told = innermost(prior).free.told
    assert all(bool((v == 0).all()) == (negative is None) for v in told.values())


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
    agree(sampled(load_prior(tmp_path, prompt=PROMPT, negative=NEGATIVE), z), expected)


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
    prior = load_prior(tmp_path, prompt=PROMPT, distilled=5.0).on((3, 16, 24))
    agree(sampled(prior, z), pipe._unpack_latents(expected, 16, 24, 2))
    assert prior.on((3, 17, 21)).shape == (4, 10, 12)


def test_windows_are_of_whole_patches(tmp_path: Path) -> None:
    tiny.stable_diffusion_3(tmp_path, third=False)
    model = ready(load_prior(tmp_path), (3, 30, 250), tile=129, precision="full")
    assert model.shape == (4, 16, 126) and model.inner.tile == 66
    with torch.no_grad():
        assert model(floats(1, 4, 16, 126), torch.tensor(0.5)).isfinite().all()


def test_the_shift_of_a_schedule() -> None:
    """s = k t / (1 + (k - 1) t), as diffusers shifts; e^mu where it depends on the picture."""
    t = torch.linspace(0.1, 1, 10, dtype=torch.float64)
    for flow, k in (({"shift": 3.0}, 3.0), ({"use_dynamic_shifting": True}, math.exp(1.15))):
        scheduler = FlowMatchEulerDiscreteScheduler(**flow)
        scheduler.set_timesteps(sigmas=t.flip(0).tolist(), mu=1.15)
        expected = scheduler.sigmas[:-1].flip(0).double()
        torch.testing.assert_close(k * t / (1 + (k - 1) * t), expected, rtol=0, atol=1e-6)
        _, sigma = head_of(scheduler).schedule(t)
        torch.testing.assert_close(sigma, 1e-3 + (1 - 1e-3) * expected, rtol=0, atol=1e-6)


def test_generate_walks_a_flow_evenly_in_time(tmp_path: Path) -> None:
    tiny.flux(tmp_path)
    out = diffprior.generate(prior=load_prior(tmp_path), width=20, height=16, steps=2, prompt="cat")
    assert out.image.size == (20, 16) and "grid='time'" in out.report["sampler"]


def test_what_no_prior_can_be_told_is_refused(tmp_path: Path) -> None:
    tiny.stable_diffusion_xl(tmp_path)
    file = tmp_path / "model_index.json"
    index = json.loads(file.read_text()) | {"requires_aesthetics_score": True}
    file.write_text(json.dumps(index))
    with pytest.raises(PriorError, match="an XL refiner is told how pleasing a picture is"):
        load_prior(tmp_path)
