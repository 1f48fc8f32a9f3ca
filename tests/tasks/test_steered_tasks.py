"""Tasks under prompts, LoRA and ControlNet, and with networks that see the image."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import diffprior
from diffprior.catalog import SettingError, build
from diffprior.cli import commands
from diffprior.editing.trajectory import Trajectory
from diffprior.io.arrays import ImageError
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import show_image
from diffprior.priors.paired import PairedPrior
from diffprior.random import Noise
from diffprior.runtime.placement import prior_cache

from support import tiny
from support.adapters import controlnet, lora
from support.exact import random

FULL = {"dtype": "float32", "device": "cpu"}
TEXT = {"prompt": "a cat"}


def photo(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.float32).sigmoid()


IMAGE, CONTROL, MASK = photo(3, 16, 16), photo(3, 16, 16, seed=1), torch.zeros(16, 16)
MASK[4:10, 6:12] = 1


def restoring(task: str, *given: Any, **own: Any) -> Callable[..., Tensor]:
    def run(**settings: Any) -> Tensor:
        with warnings.catch_warnings(action="ignore"):  # two steps explain no measurement
            settings = {"method": FIT, **own, **TEXT, **settings}
            return getattr(diffprior, task)(*given, **settings).image

    return run


FIT = "resample(sampler=ancestral(steps=2), iterations=2)"
NOISY = {"sigma": 0.05}
RESTORING = {
    "inpaint": restoring("inpaint", IMAGE, MASK),
    "denoise": restoring("denoise", IMAGE, **NOISY),
    "super_resolve": restoring("super_resolve", IMAGE[:, :8, :8], 2, **NOISY),
    "deblur": restoring("deblur", IMAGE, "gaussian:1", **NOISY),
    "colorize": restoring("colorize", IMAGE, **NOISY),
    "dejpeg": restoring("dejpeg", IMAGE, 50),
    "restore": restoring("restore", IMAGE, MASK, **NOISY),
    "reconstruct": restoring("reconstruct", IMAGE[:1], "grey", width=16, height=16, **NOISY),
}
TASKS: dict[str, Callable[..., Any]] = {
    "invert": lambda **s: diffprior.invert(IMAGE, steps=2, **TEXT, **s).trajectory.code["z"],
    "edit": lambda **s: diffprior.edit(IMAGE, steps=2, **TEXT, **s).image,
    "attention": lambda **s: (
        diffprior.edit(
            IMAGE, steps=2, source_prompt="a dog", attention="replace(local='dog cat')", **TEXT, **s
        ).image
    ),
    "sdedit": lambda **s: diffprior.sdedit(IMAGE, steps=2, **TEXT, **s).image,
    "blend": lambda **s: diffprior.blend(IMAGE, MASK, steps=2, repeats=1, **TEXT, **s).image,
    "variations": lambda **s: diffprior.variations(IMAGE, samples=1, steps=2, **TEXT, **s).image,
    "interpolate": lambda **s: diffprior.interpolate(
        IMAGE, CONTROL, samples=3, steps=2, **TEXT, **s
    ).samples[1],
    "style": lambda **s: diffprior.style(IMAGE, factor=8, strength=0.6, steps=2, **TEXT, **s).image,
    **RESTORING,
}


@pytest.fixture(scope="module", autouse=True)
def opened_once() -> Iterator[None]:
    with prior_cache():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, low-rank changes to it, and two ControlNets: of zeros, and none."""
    place = tmp_path_factory.mktemp("steered")
    pipe = tiny.stable_diffusion(place / "sd")
    widths = {"conditioning_embedding_out_channels": (8, 16)}
    ControlNetModel.from_unet(pipe.unet, **widths).save_pretrained(place / "zero")
    controlnet(pipe, place / "net")
    lora(tiny.stable_diffusion(place / "other"), place / "lora")
    return place


def asked(place: Path, **more: Any) -> dict[str, Any]:
    names = ("lora", "controlnet")
    return {"prior": str(place / "sd"), **FULL} | {
        k: place / v if k in names else v for k, v in more.items()
    }


@pytest.mark.parametrize("task", TASKS)
def test_low_rank_changes_of_scale_0_are_none(place: Path, task: str) -> None:
    plain, none, whole = (
        TASKS[task](**asked(place, **more))
        for more in ({}, {"lora": "lora", "lora_scale": 0.0}, {"lora": "lora"})
    )
    assert torch.equal(none, plain) and not torch.equal(whole, plain)


@pytest.mark.parametrize("task", TASKS)
def test_a_controlnet_of_zeros_is_none_and_another_follows_its_image(place, task) -> None:
    plain, none, one, other = (
        TASKS[task](**asked(place, **more))
        for more in (
            {},
            {"controlnet": "zero", "control_image": CONTROL},
            {"controlnet": "net", "control_image": CONTROL},
            {"controlnet": "net", "control_image": 1 - CONTROL},
        )
    )
    assert torch.equal(none, plain)
    assert not torch.equal(one, plain) and not torch.equal(one, other)


@pytest.mark.parametrize("task", RESTORING)
def test_what_is_asked_of_a_restoration_is_what_its_prior_is(place: Path, task: str) -> None:
    """The settings make the prior that can be made by hand."""
    more = {"guidance_scale": 4.0, "negative_prompt": "a dog"}
    asked = TASKS[task](prior=str(place / "sd"), lora=place / "lora", **FULL, **more)
    by_hand = load_prior(place / "sd", lora=place / "lora").with_condition(
        **TEXT, guidance_scale=4.0, negative_prompt="a dog"
    )
    assert torch.equal(asked, TASKS[task](prior=by_hand, prompt=None, **FULL))


def test_a_class_is_asked_of_a_restoration() -> None:
    """A posterior mean under a class, in one call; the report says which, and how much of it."""
    x = load_prior("fashion")  # of 28 x 28 pixels
    image = photo(1, 28, 28)
    out = diffprior.denoise(image, sigma=0.3, prior=x, label=5, **FULL)
    by_hand = diffprior.denoise(image, sigma=0.3, prior=x.with_condition(label=5), **FULL)
    assert torch.equal(out.image, by_hand.image)
    assert {"label": 5, "guidance": 3.0}.items() <= out.report.items()
    plain = diffprior.denoise(image, sigma=0.3, prior=x, **FULL)
    assert (out.image - plain.image).abs().max() > 0.05 and "label" not in plain.report


@pytest.mark.parametrize("task", [*RESTORING, "sdedit", "invert"])
def test_a_setting_that_is_none_is_a_type_error(task: str) -> None:
    with pytest.raises(TypeError, match=f"{task}.*unexpected keyword argument 'promt'"):
        TASKS[task](promt="a cat", **FULL)


@pytest.mark.parametrize("name", ["edit_friendly", "direct"])
def test_what_was_inverted_under_adapters_comes_back_under_them(place, tmp_path, name) -> None:
    steered = asked(place, lora="lora", lora_scale=0.5, controlnet="net", control_image=CONTROL)
    made = diffprior.invert(IMAGE, inversion=f"{name}(steps=6)", **TEXT, **steered)
    with torch.no_grad():
        prior = load_prior(place / "sd")
        best = (prior.decode(prior.encode(2 * IMAGE[None] - 1)).clamp(-1, 1)[0] + 1) / 2
    (tmp_path / "a.safetensors").write_bytes(made.data())
    code = tmp_path / "a.safetensors"
    back = diffprior.edit(IMAGE, inversion=code, **steered)
    assert (back.image - best).abs().max() < 0.01 < (back.image - IMAGE).abs().max()
    added = Trajectory.read(code).added
    assert added.keys() == {"lora", "lora_scale", "controlnet", "control"}
    assert added.items() <= back.report.items() and added["lora"] == str(place / "lora")
    other = diffprior.edit(IMAGE, inversion=code, prompt="a dog", guidance_scale=5.0, **steered)
    assert (other.image - best).abs().max() > 0.01


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"lora_scale": 1.0}, SettingError, "made with lora_scale=0.5, and got 1.0"),
        ({"lora_scale": None}, SettingError, "made with lora_scale=0.5, and got 1.0"),
        ({"control_image": 1 - CONTROL}, ImageError, "made with a control image: give the same"),
        ({"lora": None, "lora_scale": None}, SettingError, "prior sd with lora .* got sd with con"),
    ],
)
def test_an_inversion_under_other_adapters_is_refused(place, more, error, words: str) -> None:
    given = {"lora": "lora", "lora_scale": 0.5, "controlnet": "net", "control_image": CONTROL}
    made = diffprior.invert(IMAGE, steps=2, **asked(place, **given)).trajectory
    settings = {k: v for k, v in (given | more).items() if v is not None}
    with pytest.raises(error, match=words):
        diffprior.edit(IMAGE, inversion=made, **TEXT, **asked(place, **settings))
    plain = diffprior.invert(IMAGE, steps=2, **asked(place)).trajectory
    with pytest.raises(SettingError, match="prior sd .sha256 .* got sd with controlnet"):
        diffprior.edit(
            IMAGE, inversion=plain, **asked(place, controlnet="net", control_image=CONTROL)
        )


def seer(folder: Path, channels: int) -> Any:
    tiny.stable_diffusion(folder, unet=tiny.unet(in_channels=channels))
    return load_prior(folder)


def test_a_network_that_edits_images_sees_the_one_that_is_inverted(tmp_path: Path) -> None:
    """By hand, each of two images: up and down with the image beside, under either prompt."""
    prior, x = seer(tmp_path, 8), photo(2, 3, 16, 16)
    settings = {"prior": prior, **FULL}
    made = diffprior.invert(x, steps=4, ids=["a", "b"], **settings).trajectory
    out = diffprior.edit(x, inversion=made, **TEXT, guidance_scale=3.0, ids=["a", "b"], **settings)
    method = build("edit_friendly(steps=4)", ("inversions",))
    for i, name in enumerate("ab"):
        pixels = 2 * x[i : i + 1] - 1
        up = show_image(prior, pixels)
        code = method.encode(up, prior.encode(pixels), Noise(0, [name]), half=True)
        assert torch.equal(code["x_T"], made.code["x_T"][i : i + 1])
        down = show_image(prior.with_condition(**TEXT, guidance_scale=3.0), pixels)
        expected = (prior.decode(method.decode(down, code)).clamp(-1, 1)[0] + 1) / 2
        torch.testing.assert_close(out.image[i], expected, rtol=0, atol=1e-5)
    other = method.encode(show_image(prior, -pixels), prior.encode(pixels), Noise(0, ["b"]))
    assert not torch.allclose(other["z"], code["z"])
    assert out.report["network_calls"] == 2 * 4 * (1 + 3) - 2 * 4  # the way up was made before
    auto = diffprior.edit(x, "auto", steps=2, source_prompt="a dog", **TEXT, **settings)
    assert 0 < auto.cover.sum() < auto.cover.numel()
    assert torch.equal(auto.image[:, :1][auto.cover == 0], x[:, :1][auto.cover == 0])


@pytest.mark.parametrize("name", ["null_text", "negative_prompt"])
def test_guidance_between_texts_alone_is_refused_where_there_is_more(tmp_path, name) -> None:
    prior = seer(tmp_path, 8)
    with pytest.raises(SettingError, match="guided by the image that it edits, too"):
        diffprior.edit(IMAGE, prior=prior, inversion=name, **TEXT, **FULL)
    made = diffprior.invert(IMAGE, prior=prior, steps=2, **FULL).trajectory
    with pytest.raises(ImageError, match="there is no image, and this network sees one"):
        diffprior.edit(prior=prior, inversion=made, **TEXT, **FULL)


@pytest.mark.parametrize("task", ["variations", "interpolate"])
def test_codes_without_an_image_are_refused(tmp_path: Path, task: str) -> None:
    prior = seer(tmp_path, 8)
    with pytest.raises(ValueError, match="edits an image, and there is none"):
        TASKS[task](prior=prior, **FULL)


def test_a_network_that_fills_holes_is_shown_the_edits_mask(tmp_path: Path) -> None:
    """By hand: the source sees nothing, as on the way up, and the target all but the mask."""
    prior = seer(tmp_path, 9)
    settings = {"prior": prior, "inversion": "direct(steps=4)", **FULL}
    back = diffprior.edit(IMAGE, **settings).image
    pixels, hole = 2 * IMAGE[None] - 1, MASK[None, None]
    with torch.no_grad():
        best = (prior.decode(prior.encode(pixels)).clamp(-1, 1)[0] + 1) / 2
    assert (back - best).abs().max() < 0.01
    out = diffprior.edit(IMAGE, MASK, **TEXT, guidance_scale=3.0, **settings, feather=0)
    method, z = build("direct(steps=4)", ("inversions",)), prior.encode(pixels)
    target = show_image(prior.with_condition(**TEXT, guidance_scale=3.0), pixels, hole)
    code = method.encode(show_image(prior), z, half=True)
    inside = hole[..., ::2, ::2] > 0

    def each(x: Tensor, i: int) -> Tensor:
        kept, new = x.chunk(2)
        return torch.cat([kept, torch.where(inside, new, kept)])

    both = {k: torch.cat([v, v]) for k, v in code.items()}
    found = method.decode(PairedPrior(show_image(prior), target), both, each).chunk(2)[1]
    raw = (prior.decode(found)[0] + 1) / 2
    assert torch.equal(out.image[:, MASK == 0], IMAGE[:, MASK == 0])
    off = (out.image - raw)[:, 6:8, 8:10]  # in the middle, but for the colors that are moved
    assert off.std((1, 2)).max() < 0.2 * (raw - IMAGE)[:, 6:8, 8:10].std((1, 2)).min()


def command(*words: str | Path) -> Any:
    """Run the command line in this process, where the libraries are open."""
    return CliRunner().invoke(commands.app, [*map(str, words), "-q"])


def test_adapters_by_the_commands(place: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, x in (("a", IMAGE), ("c", CONTROL)):
        array = (255 * x).movedim(0, -1).numpy().astype(np.uint8)
        Image.fromarray(array).save(f"{name}.png")
    steered = ("--prior", place / "sd", "--lora", place / "lora", "--lora-scale", "0.5")
    steered += ("--controlnet", place / "net", "--control", "c.png")
    done = command("invert", "a.png", *steered, "--steps", "2", "-o", "a.safetensors")
    assert done.exit_code == 0, done.stderr
    words = ("edit", "a.png", "--inversion", "a.safetensors", "--prompt", "a dog", "--json")
    done = command(*words, *steered, "-o", "o.png")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["lora_scale"] == 0.5
    wrong = command(*words, *steered[:4], "-o", "x.png")
    assert wrong.exit_code == 2 and wrong.stderr.count("\n") == 1, wrong.stderr
    assert "this inversion was made with the prior sd with lora" in wrong.stderr
