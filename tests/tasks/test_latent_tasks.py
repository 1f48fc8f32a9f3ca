"""Tasks on latent pipelines: prompts, sizes, batches, and the command line."""

import json
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel

import diffprior
from diffprior.catalog import SettingError
from diffprior.pretrained.load import load_prior, sha256
from diffprior.priors.base import Prior
from diffprior.priors.half import HalfPrior
from diffprior.random import Noise
from diffprior.runtime import placement
from diffprior.runtime.placement import prepare_prior
from diffprior.samplers.ddim import DDIM

from support import shell, tiny
from support.exact import random

FULL = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sd")
    tiny.stable_diffusion(folder)
    return folder


@pytest.fixture(scope="module")
def prior(folder: Path) -> Prior:
    return load_prior(folder)


def photo(*shape: int) -> torch.Tensor:
    return random(*shape, dtype=torch.float32).sigmoid()


def test_generate_draws_what_a_prompt_asks_for(folder: Path, prior: Prior) -> None:
    """DDIM under the guided prior, from the task's own noise; of the pipeline's size."""
    asked = {"prompt": "a cat", "negative_prompt": "dog", "guidance_scale": 3.0}
    out = diffprior.generate(prior=prior, sampler="ddim(steps=4)", seed=5, **asked, **FULL)
    z = Noise(5).normal(torch.empty(1, 4, 8, 8))
    condition = {"prompt": "a cat", "negative": "dog", "guidance": 3.0}
    guided = load_prior(folder, **condition)
    _, sigma = guided.diffusion.schedule(torch.ones(()))
    x = guided.decode(DDIM(steps=4)(guided, sigma * z))
    expected = ((x + 1) * 127.5).clamp(0, 255).round()[0].movedim(0, -1).to(torch.uint8)
    assert np.array_equal(np.asarray(out.image), expected.numpy())
    assert {k: out.report[k] for k in condition} == condition and "label" not in out.report
    assert out.report["prior"] == folder.name and out.report["prior_sha256"] == prior.sha256


def test_samples_of_any_number_and_size_are_those_alone(prior: Prior) -> None:
    settings = {"prior": prior, "prompt": "a cat", "steps": 3, "width": 27, "height": 18, **FULL}
    three = diffprior.generate(samples=3, **settings)
    one = diffprior.generate(samples=1, **settings)
    assert one.image.size == (27, 18)
    assert np.array_equal(np.asarray(three.samples[0]), np.asarray(one.image))


def test_sdedit_keeps_what_is_outside_bit_for_bit(prior: Prior) -> None:
    x, mask = photo(2, 3, 21, 18), torch.zeros(21, 18)
    mask[5:9, 3:8] = 1
    settings = {"prior": prior, "strength": 0.5, "steps": 4, "prompt": "a cat", **FULL}
    out = diffprior.sdedit(x, mask, **settings).image
    assert torch.equal(out[:, :, mask == 0], x[:, :, mask == 0])
    assert (out - x)[:, :, mask == 1].abs().mean() > 0.02
    assert torch.equal(diffprior.sdedit(x[1], mask, **settings).image, out[1])
    other = diffprior.sdedit(x, mask, **settings | {"prompt": "a dog"}).image
    assert not torch.equal(other, out)


def test_a_weak_edit_is_the_autoencoders_round_trip(prior: Prior) -> None:
    x = photo(1, 3, 16, 16)
    out = diffprior.sdedit(x, prior=prior, strength=1e-4, steps=1, **FULL).image
    model = prepare_prior(prior, (3, 16, 16), **FULL)
    with torch.no_grad():
        back = (model.decode(model.encode(2 * x - 1)).clamp(-1, 1) + 1) / 2
    assert (out - back).abs().max() < 0.1 * (out - x).abs().max()


def test_large_images_are_cut_into_windows_of_latents(prior: Prior) -> None:
    """Windows of 128 pixels are 64 latents a side; the whole is not the one window."""
    whole = prepare_prior(prior, (3, 150, 20), **FULL)
    cut = prepare_prior(prior, (3, 150, 20), tile_size=128, **FULL)
    z, t = random(1, 4, 75, 10, dtype=torch.float32), torch.tensor(0.5)
    assert cut.shape == whole.shape == (4, 75, 10)
    assert cut.inner.tile == 64 and len([*cut.inner.windows(75, 10)]) == 2
    with torch.no_grad():
        gap = (cut(z, t) - whole(z, t)).abs().mean() / whole(z, t).abs().mean()
    assert 1e-6 < gap < 0.5


def test_half_precision_is_that_of_the_weights(folder: Path, prior: Prior) -> None:
    """Or of what they meet, for a prior that is open in full."""
    half, shape = {"dtype": "bfloat16", "device": "cpu"}, (3, 16, 16)
    model = prepare_prior(str(folder), shape, **half, prompt="a cat")
    assert model.dtype == torch.bfloat16 and model.like.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not isinstance(model.inner, HalfPrior)
    over = prepare_prior(prior, shape, **half, prompt="a cat")
    assert isinstance(over.inner, HalfPrior) and over.dtype == torch.bfloat16
    assert prepare_prior(prior, shape, device="cpu").dtype == torch.float32
    z, t = random(1, 4, 8, 8, dtype=torch.float32), torch.tensor(0.5)
    x_0, near, nearer = (
        p(z, t) for p in (prepare_prior(prior, shape, prompt="a cat"), model, over)
    )
    assert 1e-4 < (near - x_0).abs().max() / x_0.abs().max() < 0.1
    assert 1e-4 < (nearer - x_0).abs().max() / x_0.abs().max() < 0.1


def test_the_command_line_takes_prompts_and_adapters(tmp_path: Path) -> None:
    """A control image sets the size, and the weights that are added are in the report."""
    sd, net, control, out = (tmp_path / name for name in ("sd", "net", "control.png", "out.png"))
    unet = tiny.stable_diffusion(sd).unet
    widths = {"conditioning_embedding_out_channels": (8, 16)}
    ControlNetModel.from_unet(unet, **widths).save_pretrained(net)
    cv2.imwrite(str(control), np.full((18, 26, 3), 90, np.uint8))
    asked = ("--prior", sd, "--steps", "2", "--prompt", "a cat", "--json", "-q")
    follow = ("--controlnet", net, "--control", control)
    done = shell.texts("generate", *asked, *follow, "--guidance", "2", "-o", out)
    assert done.returncode == 0 and not done.stderr, done.stderr
    report = json.loads(done.stdout)
    told = {"prompt": "a cat", "guidance": 2, "controlnet": str(net), "seed": 0}
    assert told.items() <= report.items() and report["prior_sha256"] == sha256(sd, net)
    again = shell.texts("sdedit", out, *asked, "--strength", "0.4")
    assert again.returncode == 0, again.stderr
    before, after = cv2.imread(str(out)), cv2.imread(str(tmp_path / "out.edited.png"))
    assert before.shape == after.shape == (18, 26, 3) and not np.array_equal(before, after)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"label": 3}, "label=3 needs a class-conditional prior"),
        ({"guidance_scale": 4.0}, "guidance_scale=4.0 strengthens a prompt"),
    ],
)
def test_what_a_prior_has_not_is_one_sentence(prior: Prior, asked: dict, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        diffprior.generate(prior=prior, **asked)


METHODS = [
    "psld(sampler=ddim(steps=4, eta=1.0))",
    "resample(sampler=ancestral(steps=4), iterations=4)",
    "dps(sampler=ancestral(steps=3))",
    "daps(steps=3, iterations=4)",
]


@pytest.mark.parametrize("method", METHODS)
def test_restoration_goes_through_the_decoder(prior: Prior, method: str) -> None:
    """Known pixels stay bit for bit, noisy ones do not; an image's answer is the one alone."""
    x, mask = photo(2, 3, 21, 18), torch.zeros(21, 18)
    mask[5:9, 3:8] = 1
    sigma = 0.05 if method.startswith("daps") else 0.0
    settings = {"prior": prior, "method": method, "sigma": sigma, **FULL}
    with warnings.catch_warnings(action="ignore"):
        out = diffprior.inpaint(x, mask, **settings).image
        assert torch.equal(diffprior.inpaint(x[1], mask, **settings).image, out[1])
    assert out.shape == x.shape and bool((out != x)[:, :, mask == 1].any())
    assert torch.equal(out[:, :, mask == 0], x[:, :, mask == 0]) == (sigma == 0)


def test_a_fit_behind_the_decoder_explains_the_data(prior: Prior) -> None:
    """ReSample's latents are fitted to y: the residual falls far below that of a draw."""
    z, gap = random(1, 4, 8, 8, dtype=torch.float32), []
    x = ((prior.decode(z) + 1) / 2).detach().clamp(0, 1)
    for iterations in (1, 60):
        method = f"resample(sampler=ancestral(steps=2), iterations={iterations}, rate=0.2)"
        with warnings.catch_warnings(action="ignore"):
            out = diffprior.super_resolve(x, 2, prior=prior, method=method, sigma=0.02, **FULL)
        gap.append(out.report["chi2"][0])
    assert gap[1] < gap[0] / 3


@pytest.mark.parametrize("method", ["dpir", "mmps", "repaint"])
def test_methods_that_need_a_linear_operator_are_refused(prior: Prior, method) -> None:
    words = "behind a decoder none is; methods for latent priors are psld, resample, daps and dps"
    with pytest.raises(ValueError, match=words):
        diffprior.restore(photo(3, 16, 16), prior=prior, method=method, sigma=0.05, **FULL)


@pytest.mark.parametrize("task", ["sdedit", "blend"])
def test_a_network_that_fills_holes_sees_the_image_and_the_mask(tmp_path, task: str) -> None:
    """What is hidden does not matter to its fill from pure noise, and what is known does."""
    fill = getattr(diffprior, task)
    tiny.stable_diffusion(tmp_path, unet=tiny.unet(in_channels=9))
    x, mask = photo(2, 3, 16, 16), torch.zeros(16, 16)
    mask[4:8, 6:12] = 1
    settings = {"prior": load_prior(tmp_path, prompt="a cat"), "strength": 1.0, "steps": 3, **FULL}
    out = fill(x, mask, **settings).image
    assert torch.equal(fill(x[1], mask, **settings).image, out[1])
    assert torch.equal(out[:, :, mask == 0], x[:, :, mask == 0])
    hidden, known = x.clone(), x.clone()
    hidden[:, :, 5:7, 7:10] = 0.5
    known[:, :, 0, :3] = 0.5
    same, other = (fill(y, mask, **settings).image - out for y in (hidden, known))
    assert bool((other != 0)[:, :, mask == 1].any())
    assert same[:, :, mask == 1].abs().max() < other[:, :, mask == 1].abs().max()
    drawn = diffprior.generate(prior=settings["prior"], steps=3, **FULL)
    assert drawn.image.size == (16, 16)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"controlnet": "net"}, "for a prior that is opened here, by its name"),
        ({"control_image": np.zeros((16, 16, 3), np.uint8)}, "needs a prior with a ControlNet"),
        ({"offload": True}, "offload: for a prior that is opened here, by its name"),
    ],
)
def test_adapters_that_cannot_be_are_one_sentence(prior: Prior, settings, words) -> None:
    with pytest.raises(SettingError, match=words):
        diffprior.sdedit(photo(3, 16, 16), prior=prior, **settings)


def test_a_prior_is_opened_once_for_many_images(folder: Path, monkeypatch) -> None:
    opened = []
    load = lambda *args, **more: opened.append(args) or load_prior(*args, **more)  # noqa: E731
    monkeypatch.setattr(placement, "load_prior", load)
    with placement.prior_cache():
        priors = [prepare_prior(str(folder), (3, 16, n), **FULL) for n in (16, 20, 24)]
        prepare_prior(str(folder), (3, 16, 16), dtype="bfloat16", device="cpu")
    assert len(opened) == 2 and len({id(p.inner.inner.family) for p in priors}) == 1
    prepare_prior(str(folder), (3, 16, 16), **FULL)
    assert len(opened) == 3


@pytest.mark.parametrize("channels", [4, 9])
def test_a_network_that_leads_starts_from_copies_unless_it_is_told(
    tmp_path: Path, channels: int
) -> None:
    """A wide hole only; and the report says that the prior filled it."""
    tiny.stable_diffusion(tmp_path, unet=tiny.unet(in_channels=channels))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    wide, narrow = np.zeros((2, 64, 64), bool)
    wide[10:54, 10:54] = True
    narrow[30:33, 5:60] = True

    def fill(hole: np.ndarray, **more: Any) -> Any:
        result = diffprior.inpaint(image, hole, prior=tmp_path, steps=2, **more)
        assert np.array_equal(result.image[~hole], image[~hole])
        assert result.report["fill"] == "prior"
        return result

    assert "start=3.0" in fill(wide).report["method"]
    assert "start=None" in fill(wide, prompt="a").report["method"]
    assert "start=None" in fill(narrow).report["method"]
