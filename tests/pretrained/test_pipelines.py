"""Latent pipelines of diffusers as priors, against diffusers' own pipelines."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny, DDPMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffprior.errors import PriorError
from diffprior.networks import autoencoder
from diffprior.pretrained.load import load_prior, sha256
from diffprior.priors.base import denoise_vjp
from diffprior.priors.guided import GuidedPrior
from diffprior.priors.latent import LatentPrior
from diffprior.priors.text import TextPrior
from diffprior.samplers.ddim import DDIM

from support import tiny
from support.exact import random

PROMPT, NEGATIVE, SIZE = "a red cat", "dog", {"height": 16, "width": 16}


@pytest.fixture(scope="module")
def sd(tmp_path_factory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("sd")
    return folder, tiny.stable_diffusion(folder)


def floats(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.float32)


def agree(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def sampled(prior: LatentPrior, z: Tensor, steps: int = 8) -> Tensor:
    """Return the x_0 of DDIM's last step, which has nothing of the sigma_min of our schedules."""
    last = torch.tensor(1 / steps, dtype=torch.float64)
    return prior(DDIM(steps=steps - 1)(prior, z, stop=last), last)


@pytest.mark.parametrize("head", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("guidance", [None, 1.0, 3.0])
def test_samples_are_those_of_the_pipeline(tmp_path: Path, head: str, guidance) -> None:
    """DDIM from the same latents at the same steps, up to 1e-4 of their size; 7.5 by default."""
    pipe = tiny.stable_diffusion(tmp_path, scheduler=tiny.scheduler(prediction_type=head))
    z = floats(2, 4, 8, 8)
    prior = load_prior(tmp_path, prompt=PROMPT, negative_prompt=NEGATIVE, guidance_scale=guidance)
    expected = pipe(
        [PROMPT] * 2,
        negative_prompt=[NEGATIVE] * 2,
        guidance_scale=7.5 if guidance is None else guidance,
        latents=z,
        num_inference_steps=8,
        output_type="latent",
        **SIZE,
    ).images
    agree(sampled(prior, z), expected)


def test_no_signal_at_the_end(tmp_path: Path) -> None:
    """Betas whose last step is pure noise, read through a v head, up to a floor of 1e-4."""
    scheduler = tiny.scheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    pipe, z = tiny.stable_diffusion(tmp_path, scheduler=scheduler), floats(1, 4, 8, 8)
    assert pipe.scheduler.alphas_cumprod[-1] < 1e-7
    asked = {"num_inference_steps": 8, "output_type": "latent", **SIZE}
    expected = pipe(PROMPT, latents=z, **asked).images
    ours = sampled(load_prior(tmp_path, prompt=PROMPT), z)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("step", [0, 300, 999])
def test_x_0_is_that_of_the_guided_noise(sd, step: int) -> None:
    """(x_t - sigma eps) / alpha, the table's; it has no sigma_min, hence 1e-2 at step 0."""
    folder, pipe = sd
    x_t, alpha2 = floats(2, 4, 8, 8), pipe.scheduler.alphas_cumprod[step]
    with torch.no_grad():
        texts = pipe.encode_prompt(PROMPT, "cpu", 2, True, "")
        text, none = (pipe.unet(x_t, step, states).sample for states in texts)
        x_0 = (x_t - (1 - alpha2).sqrt() * (none + 7.5 * (text - none))) / alpha2.sqrt()
        ours = load_prior(folder, prompt=PROMPT)(x_t, torch.tensor((step + 1) / 1000))
    near = 1e-2 if step == 0 else 1e-4 * float(x_0.abs().max())
    torch.testing.assert_close(ours, x_0, rtol=0, atol=near)


def test_any_betas_are_read(tmp_path: Path) -> None:
    """The scheduler's table is the schedule, whichever way its betas were made."""
    for betas in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        ends = {"beta_start": 0.001, "beta_end": 0.01, "clip_sample": False, "steps_offset": 1}
        scheduler = DDPMScheduler(beta_schedule=betas, **ends)
        tiny.stable_diffusion(tmp_path / betas, scheduler=scheduler)
        schedule = load_prior(tmp_path / betas).diffusion.schedule
        alphas = torch.stack([schedule(torch.tensor((i + 1) / 1000))[0] for i in (0, 500, 998)])
        torch.testing.assert_close(alphas**2, scheduler.alphas_cumprod[[0, 500, 998]])


@pytest.mark.parametrize(
    "more",
    [{}, {"shift_factor": 0.3}, {"latents_mean": [0.1, -0.2, 0, 1], "latents_std": [1, 2, 3, 4]}],
)
def test_images_and_latents_are_those_of_the_autoencoder(tmp_path: Path, more: dict) -> None:
    """z = (E(x) - shift) scale, the mean of its code, and back; each row is alone."""
    pipe = tiny.stable_diffusion(tmp_path, vae=tiny.vae(**more))
    prior, x = load_prior(tmp_path).for_shape((3, 16, 24)), floats(2, 3, 16, 24).tanh()
    shift = torch.tensor(more.get("latents_mean", more.get("shift_factor", 0.0))).reshape(-1, 1, 1)
    with torch.no_grad():
        code = pipe.vae.encode(x).latent_dist.mean
        z, back = prior.encode(x), prior.decode(prior.encode(x))
        expected = pipe.vae.decode(code).sample
    assert prior.shape == z.shape[1:] == (4, 8, 12) and z.dtype == torch.float32
    deviation = torch.tensor(more.get("latents_std", 1.0)).reshape(-1, 1, 1)
    agree(z, (code - shift) * 0.7 / deviation)
    agree(back, expected)
    with torch.no_grad():
        assert torch.equal(prior.encode(x[1:]), z[1:]) and torch.equal(
            prior.decode(z[1:]), back[1:]
        )


def test_sides_that_are_no_multiples_are_padded_and_cropped(sd) -> None:
    prior, x = load_prior(sd[0]).for_shape((3, 19, 22)), floats(1, 3, 19, 22).tanh()
    assert prior.shape == (4, 10, 11) and prior.size == (19, 22)
    padded = torch.cat([x, x[:, :, -2:-1]], 2)
    with torch.no_grad():
        z = prior.encode(x)
        assert torch.equal(z, prior.for_shape((3, 20, 22)).encode(padded))
        assert torch.equal(prior.decode(z), prior.for_shape((3, 20, 22)).decode(z)[:, :, :19])


def test_large_images_go_through_in_tiles(sd, monkeypatch) -> None:
    """As diffusers tiles them; which is not what they are whole."""
    folder, pipe = sd
    prior, x = load_prior(folder).for_shape((3, 40, 40)), floats(1, 3, 40, 40).tanh()
    with torch.no_grad():
        whole = prior.encode(x), prior.decode(prior.encode(x))
        monkeypatch.setattr(autoencoder, "LARGE", 32**2)
        tiled = prior.encode(x), prior.decode(prior.encode(x))
        pipe.vae.enable_tiling()
        z = pipe.vae.encode(x).latent_dist.mean
        back = pipe.vae.decode(z).sample
        pipe.vae.disable_tiling()
    agree(tiled[0], 0.7 * z)
    agree(tiled[1], back)
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(whole, tiled, strict=True))


def test_a_row_of_a_batch_is_the_row_alone(sd) -> None:
    prior, x_t, t = load_prior(sd[0], prompt=PROMPT), floats(3, 4, 8, 8), torch.tensor(0.4)
    assert torch.equal(prior(x_t, t)[1:2], prior(x_t[1:2], t))


def test_a_text_is_a_property_of_the_prior(sd) -> None:
    """Another text is another prior, of the same network; nothing given is changed."""
    prior, x_t, t = load_prior(sd[0]), floats(1, 4, 8, 8), torch.tensor(0.4)
    plain = prior(x_t, t)
    inner = prior.innermost
    assert isinstance(inner, TextPrior) and inner.text is None
    cat, dog = inner.for_text("cat"), inner.for_text("dog")
    assert cat.family is dog.family and cat.text == "cat"
    assert not torch.equal(cat(x_t, t), dog(x_t, t))
    assert torch.equal(prior(x_t, t), plain) and torch.equal(plain, inner.for_text("")(x_t, t))
    guided = load_prior(sd[0], prompt="cat").inner
    assert isinstance(guided, GuidedPrior) and guided.scale == 7.5 and guided.free.text is None


def test_a_gradient_reaches_the_state(sd) -> None:
    """J^T v against a difference quotient, through the network and through the decoder."""
    prior = load_prior(sd[0], prompt=PROMPT, guidance_scale=2.0).to(torch.float64)
    x, v, t = random(1, 4, 8, 8), random(1, 4, 8, 8, seed=1), torch.tensor(0.4).double()
    _, vjp = denoise_vjp(prior, x, t)
    d, h = random(1, 4, 8, 8, seed=2), 1e-5
    difference = (prior(x + h * d, t) - prior(x - h * d, t)) / (2 * h)
    torch.testing.assert_close((vjp(v) * d).sum(), (v * difference).sum(), rtol=1e-5, atol=0)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(prior.decode(leaf).sum(), leaf)
    difference = (prior.decode(x + h * d) - prior.decode(x - h * d)).sum() / (2 * h)
    torch.testing.assert_close((gradient * d).sum(), difference.detach(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_states_in_full(sd, dtype: torch.dtype) -> None:
    prior, full = load_prior(sd[0], prompt=PROMPT, dtype=dtype), load_prior(sd[0], prompt=PROMPT)
    x_t, t = floats(1, 4, 8, 8), torch.tensor(0.4)
    assert {p.dtype for p in prior.inner.conditional.innermost.parameters()} >= {dtype}
    near, x_0 = prior(x_t, t), full(x_t, t)
    assert prior.like.dtype == near.dtype == prior.decode(x_t).dtype == torch.float32
    gap = float((near - x_0).abs().max() / x_0.abs().max())
    assert 1e-6 < gap < 0.1


def test_an_unconditional_latent_pipeline(tmp_path: Path) -> None:
    """Against LDMPipeline from the same noise; its codebook too."""
    pipe = tiny.latent_diffusion(tmp_path)
    prior = load_prior(tmp_path)
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    expected = pipe(2, generator, num_inference_steps=8, output_type="np").images
    with torch.no_grad():
        x = prior.decode(sampled(prior, z))
    agree((x / 2 + 0.5).clamp(0, 1), torch.from_numpy(expected).movedim(-1, 1))
    with pytest.raises(ValueError, match="prior of states of shape"):
        prior.for_shape((3, 32, 32))
    with pytest.raises(ValueError, match="knows no text"):
        load_prior(tmp_path, prompt="a cat")


def test_the_hash_is_one_of_all_weights(sd, tmp_path: Path) -> None:
    """One byte of any part changes it; configs do not."""
    folder = tmp_path / "copy"
    shutil.copytree(sd[0], folder)
    before = sha256(folder)
    assert (
        load_prior(folder).sha256
        == before
        == load_prior(folder, prompt="a").for_shape((3, 8, 8)).sha256
    )
    (folder / "unet" / "config.json").write_text(
        (folder / "unet" / "config.json").read_text().replace("{", "{ ", 1)
    )
    assert sha256(folder) == before
    for part in ("unet", "vae", "text_encoder"):
        file = next((folder / part).glob("*.safetensors"))
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert sha256(folder) != before
        file.write_bytes(data)


def broken(folder: Path, part: str, change) -> None:
    file = next((folder / part).glob("*.safetensors"))
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_missing_weights_are_one_sentence(sd, tmp_path: Path, part: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(sd[0], folder)
    broken(folder, part, lambda tensors: tensors.pop(max(tensors)))
    with pytest.raises(PriorError, match=f"its {part}, a .* lack 1 tensors, first those of ") as e:
        load_prior(folder)
    assert "\n" not in str(e.value)
    shutil.rmtree(folder / part)
    with pytest.raises(PriorError, match=f"it has no folder {part}, where a "):
        load_prior(folder)


def test_a_hub_id_opens_from_the_cache_offline(sd, tmp_path: Path) -> None:
    """HF_HUB_OFFLINE, and a cache as huggingface_hub lays it out."""
    repository = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(sd[0], repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    code = """if True:
        import diffprior
        prior = diffprior.load_prior("someone/tiny")
        print(prior.name, prior.sha256)
        diffprior.load_prior("someone/else")
    """
    offline = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=offline, capture_output=True, text=True)
    assert done.stdout.split() == ["someone/tiny", sha256(sd[0])], done.stderr
    assert "PriorError: no prior 'someone/else' on disk, nor on the hub" in done.stderr


def test_a_package_that_is_missing_is_named(sd, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PriorError, match=r"not installed: pip install 'diffprior\[latent\]'"):
        load_prior(sd[0])


def test_offload_needs_a_gpu(sd, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PriorError, match="offload needs a CUDA device, and the package accelerate"):
        load_prior(sd[0], offload=True)


def test_an_offloaded_pipeline_is_the_same_prior(sd, monkeypatch) -> None:
    """On a device that there is; ``to`` leaves to accelerate what it has hold of."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    enable = StableDiffusionPipeline.enable_model_cpu_offload
    monkeypatch.setattr(
        StableDiffusionPipeline, "enable_model_cpu_offload", lambda pipe: enable(pipe, device="cpu")
    )
    prior, plain = load_prior(sd[0], prompt=PROMPT, offload=True), load_prior(sd[0], prompt=PROMPT)
    x_t, t = floats(1, 4, 8, 8), torch.tensor(0.4)
    assert prior.to(torch.float64) is prior and prior.like.device.type == "cpu"
    agree(prior(x_t, t), plain(x_t, t))
    agree(prior.decode(x_t), plain.decode(x_t))


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"vae": ["diffusers", "NoSuchModel"]}, "its vae is a NoSuchModel of diffusers; it is to"),
        ({"unet": ["diffusers", None]}, "is to name a vae, a unet or transformer, and a scheduler"),
        (
            {"unet": ["diffusers", "SanaModel"]},
            "its unet is a SanaModel; it is to be a UNet2DModel",
        ),
        ({"tokenizer": [None, None]}, "names no tokenizer, by which a StableDiffusion reads texts"),
        ({"vae": ["diffusers", "VQModel"]}, "its vae, a VQModel, cannot be opened"),
        ({"text_encoder": ["elsewhere", "X"]}, "its text_encoder is a X of elsewhere; it is to be"),
    ],
)
def test_a_pipeline_of_other_parts_is_one_sentence(sd, tmp_path, index, words) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(sd[0], folder)
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | index))
    with pytest.raises(PriorError, match=words):
        load_prior(folder)


HALF = {"variant": "fp16"}


@pytest.mark.parametrize(
    "layout", [HALF, HALF | {"max_shard_size": "20KB"}, {"safe_serialization": False}]
)
def test_weights_of_other_layouts(tmp_path: Path, layout: dict) -> None:
    """Half precision under its own name, in one file or in shards, and files of torch.save."""
    pipe = tiny.stable_diffusion(tmp_path / "plain")
    pipe = pipe.to(torch.float16) if "variant" in layout else pipe
    pipe.save_pretrained(tmp_path / "other", **layout)
    x_t, t = floats(1, 4, 8, 8), torch.tensor(0.4)
    other, plain = load_prior(tmp_path / "other"), load_prior(tmp_path / "plain")
    near = 1e-2 if "variant" in layout else 1e-6
    torch.testing.assert_close(other(x_t, t), plain(x_t, t), rtol=0, atol=near)
    assert len(other.sha256) == 64 and other.sha256 != plain.sha256


def test_weights_of_other_shapes_are_one_sentence(sd, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(sd[0], folder)
    for part, key in (("unet", "block_out_channels"), ("text_encoder", "intermediate_size")):
        file = folder / part / "config.json"
        before = file.read_text()
        config = json.loads(before)
        file.write_text(json.dumps(config | {key: [16, 16] if key[0] == "b" else 24}))
        with pytest.raises(PriorError, match=f"its {part}, a .*, cannot be opened") as error:
            load_prior(folder)
        assert "\n" not in str(error.value)
        file.write_text(before)


def test_weights_with_the_names_of_2022(sd, tmp_path: Path) -> None:
    """An autoencoder's attention, and a reader's tensors, as Stable Diffusion 1 was published."""
    folder = tmp_path / "copy"
    shutil.copytree(sd[0], folder)
    old = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(vae)
    for new, name in old.items():
        tensors = {key.replace(new, name): value for key, value in tensors.items()}
    assert len(set(tensors) - set(load_file(vae))) == 16
    save_file(tensors, vae, metadata={"format": "pt"})
    reader = folder / "text_encoder" / "model.safetensors"
    tensors = {
        f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(reader).items()
    }
    tensors["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    save_file(tensors, reader, metadata={"format": "pt"})
    ours, plain = (load_prior(place, prompt=PROMPT) for place in (folder, sd[0]))
    x_t, t = floats(1, 4, 8, 8), torch.tensor(0.4)
    assert torch.equal(ours(x_t, t), plain(x_t, t))
    assert torch.equal(ours.decode(x_t), plain.decode(x_t))


def test_half_a_pipeline_is_refused_with_what_to_do(sd, tmp_path: Path) -> None:
    with pytest.raises(PriorError, match="it holds a UNet2DConditionModel; .* or a pipeline"):
        load_prior(sd[0] / "unet")
    file = tmp_path / "all.safetensors"
    names = ("model.diffusion_model.out.2.bias", "first_stage_model.encoder.conv_in.bias")
    save_file({name: torch.zeros(4) for name in names}, file)
    with pytest.raises(PriorError, match=r"one file; write a folder: .*from_single_file\("):
        load_prior(file)


def test_a_tiny_autoencoder(tmp_path: Path) -> None:
    """TAESD's kind, which has no scale and no spread."""
    channels = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    blocks = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    taesd = AutoencoderTiny(**channels, **blocks, latent_channels=4)
    tiny.stable_diffusion(tmp_path, vae=taesd)
    prior, x = load_prior(tmp_path).for_shape((3, 16, 22)), floats(2, 3, 16, 22).tanh()
    with torch.no_grad():
        z = prior.encode(x)
        agree(z, taesd.encode(x).latents)
        agree(prior.decode(z), taesd.decode(z).sample)
    assert prior.shape == (4, 8, 11)
