"""A cascade: what the upsampler learns from noise in small images, and what is drawn by both."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import diffprior
from diffprior.catalog import build
from diffprior.pretrained.load import load_prior
from diffprior.priors._seeing import seen_image
from diffprior.priors.cascade import CascadePrior
from diffprior.random import Noise
from diffprior.training.cascades import UpsamplerTrainer, shrunk
from diffprior.training.labelled import ClassedImages

from support.runs import call, held_out, refused, seeing, squares, steps

LAW = "edm(p_mean=0.0)"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright square of 4x4 or of 2x2 pixels, at even places."""
    return squares(tmp_path_factory.mktemp("cascade"), (4, 2), (220, 220), places=2)


def trained(images: ClassedImages, augment: float) -> CascadePrior:
    """Return a cascade whose upsampler saw small images with noise up to a level."""
    network, config = seeing(images, LAW)
    trainer = UpsamplerTrainer(network, images, config, Path("unused"), augment=augment)
    steps(trainer, 30)
    base = load_prior("fashion")  # is not asked
    return CascadePrior(base, trainer.averaged(), trainer.task, (1, 8, 8), classes=2)


def test_conditioning_augmentation_beats_its_ablation(file: Path) -> None:
    """Under small images that are wrong, as those of a base can be, the mean is nearer."""
    images = ClassedImages(file)
    x_0 = held_out(images)
    generator = torch.Generator().manual_seed(1)
    small = F.avg_pool2d(x_0, 2)
    wrong = small + 1.2 * torch.randn(small.shape, generator=generator)
    noise = torch.randn(x_0.shape, generator=generator)
    errors = {}
    for augment in (0.6, 0.0):
        prior = trained(images, augment)
        prior.level = augment
        t = prior.diffusion.schedule.time(1.0)
        x_t = prior.diffusion.schedule(t)[0].float() * (x_0 + noise)
        for name, seen in (("right", small), ("wrong", wrong)):
            shown = prior._show(small=seen, noise=noise.flip(0))
            errors[name, augment] = float((shown(x_t, t) - x_0).square().mean())
        errors["none", augment] = float((prior(x_t, t) - x_0).square().mean())
    assert errors["wrong", 0.6] < 0.93 * errors["wrong", 0.0]
    for augment in (0.6, 0.0):  # a small image that is right helps both
        assert errors["right", augment] < 0.9 * errors["none", augment]


def test_what_the_network_sees() -> None:
    """sqrt(1 - s^2) x + s eps beside s; nothing of the image where s is 1."""
    small, noise = torch.ones(3, 1, 2, 2), torch.randn(3, 1, 4, 4)
    seen = seen_image(small, noise, torch.tensor([0.0, 0.6, 1.0]), noise)
    assert torch.equal(seen[:, 1].amax((1, 2)), torch.tensor([0.0, 0.6, 1.0]))
    assert torch.equal(seen[0, 0], torch.ones(4, 4)) and not seen[2, 0].any()
    torch.testing.assert_close(seen[1], torch.cat([0.8 + 0.6 * noise[1], seen[1, 1:]]))


def test_small_images_are_means(file: Path) -> None:
    images = ClassedImages(file)
    small = shrunk(images)
    assert small.pixels.shape == (192, 1, 4, 4) and images.pixels.shape == (192, 1, 8, 8)
    assert small.validation[0].shape == (4, 4, 1)
    assert torch.equal(small.pixels[0, 0], images.pixels[0, 0, ::2, ::2])  # squares are even


def test_the_command_makes_a_cascade(file: Path, tmp_path: Path) -> None:
    """It draws the small image first; without one it is a prior for restoration."""
    words = ("--cascade", "--steps", 4, "--batch", 4, "--network", "unet(channels=[8])")
    done = call(file, "--out", tmp_path, *words)
    assert done.exit_code == 0, done.output
    prior = load_prior(tmp_path / "weights", label=1)
    assert isinstance(prior, CascadePrior) and prior.base.shape == (1, 4, 4)
    assert prior.base.label == prior.label == 1
    again = load_prior(tmp_path / "weights", label=1, level=0.0)
    assert prior.sha256 == again.sha256 != load_prior(tmp_path / "weights" / "base").sha256
    noise, sampler = Noise(3), build("ddim(steps=2)", ("samplers",))
    terminals = [p.diffusion.terminal((1, *p.shape)) for p in (again, again.base)]
    x_T, small_T = (kernel.sample(noise).float() for kernel in terminals)
    small = sampler(again.base, small_T, noise)
    x = sampler(again._show(small=small, noise=noise.normal(x_T)), x_T, noise)
    drawn = diffprior.generate(prior=again, sampler=sampler, seed=3, device="cpu").image
    expected = ((x + 1) * 127.5).clamp(0, 255).round()[0].movedim(0, -1)
    assert np.abs(np.asarray(drawn, float) - expected.numpy()).max() <= 1
    assert not torch.equal(sampler(again, x_T, noise), x)
    clipped = load_prior(tmp_path / "weights", label=1, level=0.0, clip=True)
    large, half = 3 * x_T, torch.tensor(0.5, dtype=torch.float64)
    assert torch.equal(clipped(large, half), again(large, half).clamp(-1, 1))
    assert torch.equal(clipped.base(large, half), again.base(large, half).clamp(-1, 1))
    assert again.classes == again.base.classes == 2
    guided = again.with_condition(label=0, guidance_scale=2.0)
    assert guided.first is not None and guided.first.guidance_scale == 2.0
    out = diffprior.denoise(
        torch.rand(1, 16, 16), sigma=0.1, prior=prior, method="dps(sampler=ddim(steps=2))"
    )
    assert out.image.shape[-2:] == (16, 16)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cascade", "--latent", "4"], "give --latent or --cascade"),
        (["--cascade", "--joint"], "--joint is an option of --latent"),
        (["--cascade", "--init", "photo"], "--cascade is for a new prior"),
        (["--cascade", "--network", "nafunet"], "has a unet for its network"),
    ],
)
def test_what_does_not_fit_a_cascade_is_one_sentence(
    file: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    refused(call(file, "--out", tmp_path / "run", "--steps", 2, *words), message)
