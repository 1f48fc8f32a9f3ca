"""Fine-tuning of a tiny text-to-image pipeline: the loss falls, and diffusers opens the file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior
from diffprior.priors.text import text_prior
from diffprior.training.captioned import Captioned, read_captioned
from diffprior.training.control import ControlRun
from diffprior.training.lora import LoraConfig, LoraRun, PreferenceRun
from diffprior.training.runs import RunConfig
from diffprior.training.text_model import Draws, Rows, TextModel

from support import tiny
from support.exact import random
from support.runs import call, refused

SIDE = 16
PROMPT = "a photo of sks dog"
FAST = LoraConfig(batch=4, rate=2e-2, rank=8, warmup=1)


def gradient(i: int) -> np.ndarray:
    """Return a bright image that goes over from one color into another."""
    y, x = np.mgrid[:24, :24] / 23
    return (255 * np.stack([x, y, (x + y) / 2 + 0 * i], -1)).clip(0, 255).astype(np.uint8)


def noise(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (24, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline, and four images of each of three kinds."""
    root = tmp_path_factory.mktemp("tuning")
    tiny.stable_diffusion(root / "sd")
    for name, draw in (("dog", gradient), ("noise", noise), ("edges", noise)):
        (root / name).mkdir()
        for i in range(4):
            Image.fromarray(draw(i)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def model(root: Path) -> TextModel:
    torch.manual_seed(0)
    return TextModel(load_prior(root / "sd"))


def pictures(root: Path, name: str = "dog") -> Captioned:
    return read_captioned([root / name], (SIDE, SIDE), PROMPT)


def steps(run: LoraRun | ControlRun, number: int) -> None:
    for _ in range(number):
        run.train_step(0.0)


def said(model: TextModel, rows: Rows) -> Tensor:
    """Return what the network says of some noisy states."""
    draws = Draws.of(np.random.default_rng(1), rows.z)
    with torch.no_grad():
        return model._said(rows, rows.z + draws.noise, draws.t[:, None, None, None])


def mean(prior: Prior) -> Tensor:
    z = random(1, 4, 8, 8, dtype=torch.float32)
    return prior.with_condition(prompt=PROMPT, guidance_scale=1.0)(z, torch.tensor(0.5))


def test_the_error_is_that_of_diffusers(root: Path, model: TextModel) -> None:
    """Mean square error of the noise, for the latents and the text of its own pipeline."""
    rows = model.rows(pictures(root))
    pipe = StableDiffusionPipeline.from_pretrained(root / "sd")
    pipe.set_progress_bar_config(disable=True)
    draws = Draws.of(np.random.default_rng(0), rows.z)
    text = pipe.encode_prompt(PROMPT, "cpu", 1, False)[0].expand(4, -1, -1)
    time = (draws.t * 1000).round().long() - 1
    with torch.no_grad():
        z = pipe.vae.encode(pictures(root).images).latent_dist.mode() * 0.7
        noisy = pipe.scheduler.add_noise(z, draws.noise, time)
        theirs = (pipe.unet(noisy, time, text).sample - draws.noise).square().mean((1, 2, 3))
        torch.testing.assert_close(model.errors(rows, draws), theirs, rtol=1e-4, atol=1e-5)


def test_a_subject_is_learned_and_its_class_kept(root: Path, model: TextModel) -> None:
    """DreamBooth: the images of the class keep their error, which rises without them."""
    rows = model.rows(pictures(root))
    kept = model.rows(read_captioned([root / "noise"], (SIDE, SIDE), "a dog"))
    before = model.measured(rows), model.measured(kept)
    steps(LoraRun(model, rows, FAST, root / "a"), 8)
    alone = model.measured(rows), model.measured(kept)
    torch.manual_seed(0)
    again = TextModel(load_prior(root / "sd"))
    steps(LoraRun(again, again.rows(pictures(root)), FAST, root / "b", kept), 8)
    both = again.measured(rows), again.measured(kept)
    assert alone[0] < 0.95 * before[0] and both[0] < 0.95 * before[0]
    assert both[1] < alone[1]


def test_the_file_is_that_of_diffusers(root: Path, tmp_path: Path) -> None:
    """The command writes it; diffusers and this library say the same with it, at scale 1."""
    run = ("--lora", root / "sd", "--prompt", PROMPT, "--rate", 1e-2, "--out", tmp_path / "run")
    done = call(root / "dog", *run, "--steps", 3)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "run" / "weights"
    assert [file.name for file in folder.iterdir()] == ["pytorch_lora_weights.safetensors"]
    ours, plain = load_prior(root / "sd", lora=folder), load_prior(root / "sd")
    pipe = StableDiffusionPipeline.from_pretrained(root / "sd")
    pipe.load_lora_weights(folder)
    theirs = load_prior(root / "sd")
    text_prior(theirs).family.pipe.unet = pipe.unet.eval()
    torch.testing.assert_close(mean(ours), mean(theirs), rtol=0, atol=1e-5)
    assert (mean(ours) - mean(plain)).abs().max() > 1e-3
    assert call(root / "dog", *run, "--steps", 3).exit_code == 0  # a finished run
    other = call(root / "noise", *run, "--steps", 3, "--rank", 2)
    refused(other, "was begun with rank 4, not 2")


def test_a_stopped_run_ends_as_one_that_was_not(root: Path, tmp_path: Path) -> None:
    files = []
    for name, parts in (("whole", (4,)), ("parts", (2, 4))):
        for end in parts:
            torch.manual_seed(0)
            model = TextModel(load_prior(root / "sd"))
            run = LoraRun(model, model.rows(pictures(root)), FAST, tmp_path / name)
            run.resume()
            while run.step < end:
                run.train_step(run.step / 4)
            run.save()
        files.append(run.files())
    assert files[0] == files[1]


def test_a_preference_widens_its_margin(root: Path, model: TextModel) -> None:
    """Diffusion-DPO, bright before dark: from 0 to pairs told right at fresh times and noise."""
    rows = model.rows(pictures(root))
    bright = Rows(2 * torch.ones_like(rows.z), rows.conditions)
    settings = LoraConfig(batch=8, rate=5e-3, warmup=1)
    run = PreferenceRun(model, bright, -bright.z, settings, root / "c")
    index = [0, 1, 2, 3] * 8
    draws = Draws.of(np.random.default_rng(7), rows.z[index])
    assert torch.equal(run.margins(index, draws), torch.zeros(32))
    steps(run, 7)
    after = run.margins(index, draws).detach()
    assert after.mean() > 5 and (after > 0).double().mean() > 0.9, after


def test_a_controlnet_begins_as_the_model(root: Path, model: TextModel) -> None:
    """Its convolutions of zeros add nothing at first, to the last bit."""
    data = pictures(root)
    before = said(model, model.rows(data))
    control = pictures(root, "edges").images
    rows = model.rows(data, control)
    run = ControlRun(model, rows, RunConfig(batch=4, rate=1e-2, warmup=1), root / "d")
    assert torch.equal(said(model, rows), before)
    error = model.measured(rows)
    steps(run, 8)
    assert model.measured(rows) < 0.97 * error
    turned = Rows(rows.z, rows.conditions, 1 - rows.control)
    assert not torch.equal(said(model, turned), said(model, rows))


def test_a_controlnet_opens_in_diffusers_and_here(root: Path, tmp_path: Path) -> None:
    run = ("--controlnet", root / "sd", "--control-images", root / "edges", "--prompt", PROMPT)
    done = call(root / "dog", *run, "--out", tmp_path, "--steps", 2)
    assert done.exit_code == 0, done.output
    theirs = ControlNetModel.from_pretrained(tmp_path / "weights")
    prior = load_prior(root / "sd", controlnet=tmp_path / "weights")
    ours = text_prior(prior).family.controlnet
    assert all(torch.equal(v, ours.state_dict()[k]) for k, v in theirs.state_dict().items())
    shown = prior.with_control(random(1, 3, SIDE, SIDE, dtype=torch.float32).tanh())
    assert mean(shown).isfinite().all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--prompt", "x"), "--prompt is an option of --text, --lora or --controlnet"),
        (("--rank", "2"), "--rank is an option of --lora"),
        (("--lora", "SD", "--control-images", "dog"), "--control-images is an option of"),
        (("--lora", "SD", "--controlnet", "SD"), "give --lora or --controlnet, and not both"),
        (("--lora", "SD", "--class-images", "dog"), "--class-images and --class-prompt go tog"),
        (("--controlnet", "SD"), "--controlnet needs --control-images"),
        (("--lora", "SD"), "has no text: give --prompt, or a file 0.txt beside it"),
        (("--lora", "SD", "--objective", "v"), "--objective is for a new prior"),
        (("--lora", "SD", "--side", "16"), "--side is for a new prior"),
        (("--lora", "SD", "--compile"), "--compile is for a new prior"),
        (("--lora", "SD", "--holes", "0"), "--holes is for a new prior"),
        (("--lora", "SD", "--batch", "0"), "batch of RunConfig is"),
        (("--lora", "photo", "--prompt", "x"), "photo reads no text"),
        (("--lora", "SD", "--prompt", "x", "--rejected", "EMPTY"), "no image in"),
        (("--lora", "SD", "--prompt", "x", "--rejected", "ONE"), "has no rejected image of the"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    root: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    for name in ("empty", "one"):
        (tmp_path / name).mkdir()
    Image.fromarray(noise(0)).save(tmp_path / "one" / "0.png")
    places = {"SD": root / "sd", "EMPTY": tmp_path / "empty", "ONE": tmp_path / "one"}
    given = [places.get(word, word) for word in words]
    refused(call(root / "dog", "--out", tmp_path / "run", "--steps", 1, *given), message)


def test_captions_are_beside_their_images(root: Path, tmp_path: Path) -> None:
    for i, text in enumerate(("a red fox\n", "a cat", None)):
        Image.fromarray(gradient(i)).save(tmp_path / f"{i}.png")
        if text:
            (tmp_path / f"{i}.txt").write_text(text)
    (tmp_path / "notes.md").write_text("no image")
    data = read_captioned([tmp_path], (8, 16), "a dog")
    assert data.texts == ["a red fox", "a cat", "a dog"] and data.skipped.others == 1
    assert data.images.shape == (3, 3, 8, 16)
    rows = torch.from_numpy(gradient(0)).float().reshape(24, 24, 3) / 127.5 - 1
    middle = rows.mean((0, 1))  # the middle of a gradient has its mean
    torch.testing.assert_close(data.images[0].mean((1, 2)), middle, rtol=0, atol=0.02)
