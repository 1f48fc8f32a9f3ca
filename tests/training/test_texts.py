"""Priors that read texts, trained from nothing, beside the captions of others and none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

import diffprior
from diffprior.catalog import build
from diffprior.errors import SettingError
from diffprior.objectives.base import Denoiser
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior
from diffprior.priors.latent import LatentPrior
from diffprior.priors.text import TextPrior
from diffprior.random import Noise
from diffprior.training.captioned import CaptionedImages, read_captioned
from diffprior.training.latents import fixed
from diffprior.training.texts import TextTrainer, new_tokenizer
from diffprior.training.trainer import TrainingConfig

from support.runs import call, refused, steps

LAW = "edm(p_mean=0.0, sigma_max=10.0)"
COLORS = {
    "a blue wall": (60, 60, 220),
    "a green wall": (60, 220, 60),
    "a red wall": (220, 60, 60),
    "a white wall": (200, 200, 200),
}
MEANS = torch.tensor([*COLORS.values()]) / 127.5 - 1


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CaptionedImages:
    """Walls of four colors, with noise."""
    rng = np.random.default_rng(0)
    y = rng.integers(len(COLORS), size=128)
    x = np.array([*COLORS.values()])[y, None, None] + rng.normal(0, 30, (128, 8, 8, 3))
    x = x.clip(0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("texts") / "walls.npz"
    np.savez(path, x_train=x, y_train=np.array([*COLORS])[y], x_test=x[:8])
    return CaptionedImages([path])


@pytest.fixture(scope="module")
def trained(images: CaptionedImages, tmp_path_factory: pytest.TempPathFactory) -> TextTrainer:
    torch.manual_seed(0)
    config = TrainingConfig(
        batch=16, patch=8, late_patch=8, objective=LAW, adam_rate=5e-3, warmup=2, ema=0.1
    )
    folder = tmp_path_factory.mktemp("run")
    made = TextTrainer.of(images, None, config, "unet(channels=[16])", folder)
    steps(made, 30)
    made.save()
    return made


@pytest.fixture(scope="module")
def prior(trained: TextTrainer) -> TextPrior:
    """The prior of the folder that the run wrote."""
    made = load_prior(trained.folder / "weights")
    assert isinstance(made, TextPrior)
    return made


def test_its_own_caption_is_better_than_none_or_that_of_others(
    images: CaptionedImages, trained: TextTrainer
) -> None:
    """By the loss that was minimized, at the same times and noise."""
    network = trained.averaged()
    x = images.pixels.float() / 127.5 - 1
    labels = images.labels
    said = {"own": labels, "none": torch.full_like(labels, 4), "others": (labels + 1) % 4}
    losses = {}
    for name, shown in said.items():
        model = Denoiser(network=network, parameterization=trained.task, labels=shown)
        with torch.no_grad():
            losses[name] = float(
                trained.objective.losses(model, fixed(trained.objective, x)).mean()
            )
    assert losses["own"] < 0.8 * losses["none"] < 0.8 * losses["others"]


class Rows(Prior):
    """The prior of a run, asked for all rows at once, each under its caption, with guidance."""

    def __init__(self, run: TextTrainer, labels: Tensor, scale: float) -> None:
        super().__init__()
        self.inner = run.prior(run.averaged())
        self.shape, self.diffusion = self.inner.shape, self.inner.diffusion
        self.labels, self.scale = labels, scale

    @torch.no_grad()
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        own = self.inner.parameterization
        x, time = own.inputs(x_t, t)
        blank = torch.full_like(self.labels, len(COLORS))
        times = time.float().expand(2 * len(x))
        out = self.inner.network(torch.cat([x, x]), times, torch.cat([self.labels, blank]))
        said, free = out.chunk(2)
        return own.denoised(x_t, t, free + self.scale * (said - free))


def test_pictures_are_those_of_the_caption_and_guidance_helps(trained: TextTrainer) -> None:
    """The share of draws whose mean color is nearest to that of the caption; 1/4 is chance."""
    labels = torch.arange(4).repeat_interleave(16)
    noise = Noise(0, samples=len(labels))
    sampler = build("ddim(steps=6, grid='karras')", ("samplers",))
    shares = {}
    for scale in (0.0, 1.0, 3.0):
        prior = Rows(trained, labels, scale)
        x_T = prior.diffusion.terminal((len(labels), *prior.shape)).sample(noise).float()
        x = sampler(prior, x_T, noise)
        told = torch.cdist(x.mean((2, 3)), MEANS).argmin(1)
        shares[scale] = float((told == labels).float().mean())
    assert shares[1.0] > 0.8 and shares[0.0] < 0.5
    assert shares[3.0] > 0.95 and shares[3.0] > shares[1.0]


def test_the_folder_says_what_was_trained(trained: TextTrainer, prior: TextPrior) -> None:
    """A prompt is the caption of the training, no prompt the empty one; words are one token."""
    x, t = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8), torch.tensor(0.6)
    own = trained.prior(trained.averaged())
    red, free = own.for_label(2)(x, t), own(x, t)
    for scale in (1.0, 2.0):
        shown = prior.with_condition(prompt="a red wall", guidance_scale=scale)
        expected = free + scale * (red - free)
        torch.testing.assert_close(shown(x, t), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(prior(x, t), free, rtol=1e-4, atol=1e-5)
    assert len(trained.tokenizer("a red wall").input_ids) == 5
    assert len(trained.tokenizer("zebra ü").input_ids) > 5  # spelled, and not unknown
    assert prior.shape == (3, 8, 8) and prior.reads_text and not prior.latent


def test_diffusers_opens_the_folder(tmp_path: Path, images: CaptionedImages) -> None:
    """The whole pipeline without an autoencoder draws what this library draws, step by step."""
    config = TrainingConfig(batch=2, patch=8, late_patch=8, objective="v(steps=50)")
    run = TextTrainer.of(images, None, config, "unet(channels=[16])", tmp_path)
    run.save()
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "weights", vae=None)
    pipe.set_progress_bar_config(disable=True)
    prior = load_prior(tmp_path / "weights", prompt="a red wall", guidance_scale=2.0)
    x_T = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    steps = []
    pipe(
        "a red wall",
        num_inference_steps=50,
        guidance_scale=2.0,
        latents=x_T,
        output_type="latent",
        callback_on_step_end=lambda p, i, t, k: steps.append(k["latents"]) or {},
        callback_on_step_end_tensor_inputs=["latents"],
        generator=torch.Generator().manual_seed(1),
    )
    x_0 = prior(x_T, torch.tensor(1.0))
    noise = torch.randn(x_T.shape, generator=torch.Generator().manual_seed(1))
    kernel = prior.reverse(x_T, x_0, torch.tensor(1.0), torch.tensor(0.98))
    expected = kernel.loc + kernel.var.sqrt() * noise
    torch.testing.assert_close(steps[0], expected.float(), rtol=1e-3, atol=2e-3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images: two with a file beside them, one in the list, one without a text."""
    root = tmp_path / "walls"
    (root / "more").mkdir(parents=True)
    for name in ("a.png", "b.png", "more/c.png", "more/d.png"):
        Image.new("RGB", (20, 16), tuple(COLORS["a red wall"])).save(root / name)
    (root / "a.txt").write_text("a red wall\n")
    (root / "b.txt").write_text("a wall")
    rows = [{"file_name": "more/c.png", "text": "one more"}, {"file_name": "a.png", "text": "no"}]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


def test_where_texts_come_from(folder: Path) -> None:
    found = read_captioned([folder], (8, 8), "prompt")
    assert [(p.name, p.text) for p in found.pictures] == [
        ("a", "a red wall"),
        ("b", "a wall"),
        ("c", "one more"),
        ("d", "prompt"),
    ]
    assert found.skipped.others == 0
    made = CaptionedImages([folder], 8, "prompt")
    assert made.captions == ["a red wall", "a wall", "one more", "prompt"]
    assert made.pixels.shape == (4, 3, 8, 8) and made.labels.tolist() == [0, 1, 2, 3]
    with pytest.raises(SettingError, match=r"d\.png has no text: give --prompt, or a file"):
        read_captioned([folder], (8, 8))
    (folder / "metadata.jsonl").write_text('{"file_name": "more/c.png"}')
    with pytest.raises(SettingError, match=r"line 1 of .*metadata\.jsonl is to be an object"):
        read_captioned([folder], (8, 8), "prompt")


def test_the_command_trains_in_pixels_and_in_latents(folder: Path, tmp_path: Path) -> None:
    """One command each; the second is a whole pipeline, which LoRA and all else can be made for."""
    words = (folder, "--text", "--prompt", "a wall", "--steps", 2, "--batch", 2)
    for name, more in (("pixels", ("--side", 16)), ("latent", ("--side", 16, "--latent", 4))):
        out = tmp_path / name
        done = call(*words, *more, "--out", out, "--network", "unet(channels=[8], layers=1)")
        assert done.exit_code == 0, done.output
        prior = load_prior(out / "weights", prompt="a red wall", guidance_scale=2.0)
        assert isinstance(prior, LatentPrior) == (name == "latent")
        drawn = diffprior.generate(prior=prior, sampler="ddim(steps=2)", device="cpu").image
        assert drawn.size == (16, 16)
    StableDiffusionPipeline.from_pretrained(tmp_path / "latent" / "weights")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "--cascade"], "a prior is one of them: give --text or --cascade"),
        (["--text", "--latent", "4", "--joint"], "--joint trains a prior without texts"),
        (["--text", "--init", "photo"], "--text is for a new prior"),
        (["--text", "--network", "dit"], "a network that sees texts is a unet"),
        (["--text"], "d.png has no text: give --prompt"),
        (["--prompt", "a wall"], "--prompt is an option of --text, --lora or --controlnet"),
        (["--side", "20"], "--side is a multiple of 16, got 20"),
        (["--side", "0"], "--side"),
    ],
)
def test_what_does_not_fit_a_text_is_one_sentence(
    folder: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    if "dit" in words:
        words = [*words, "--prompt", "a wall"]
    refused(call(folder, "--out", tmp_path / "run", "--steps", 2, *words), message)


def test_a_file_of_images_has_texts_or_classes(images: CaptionedImages, tmp_path: Path) -> None:
    x = images.pixels[:8].permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "classes.npz", x_train=x, y_train=np.arange(8), x_test=x)
    np.savez(tmp_path / "texts.npz", x_train=x, y_train=np.array(["a", "b"] * 4), x_test=x)
    out = ("--out", tmp_path / "run", "--steps", 1)
    text = call(tmp_path / "classes.npz", "--text", *out)
    refused(text, "with --text it holds a text for each image")
    refused(call(tmp_path / "texts.npz", *out), "y_train holds texts: give --text")
    side = call(tmp_path / "texts.npz", "--side", 16, *out)
    refused(side, "--side is for folders and ZIP files")


def test_a_vocabulary_is_the_same_each_time() -> None:
    texts = ["a red square", "two blue disks", "a RED disk"]
    one, two = (new_tokenizer(texts) for _ in range(2))
    assert one.get_vocab() == two.get_vocab() and one.model_max_length == 8
    assert one("a red disk").input_ids == one("A Red  disk").input_ids
