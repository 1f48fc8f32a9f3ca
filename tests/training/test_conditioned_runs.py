"""Priors that see what an operator leaves of an image, beside the network that sees nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.catalog import build
from diffprior.errors import SettingError, UnsuitedError
from diffprior.operators.average import Average
from diffprior.operators.gray import Gray
from diffprior.pretrained.load import load_prior
from diffprior.priors.conditioned import (
    ConditionedPrior,
    as_image,
    conditioned_prior,
    under_measurements,
)
from diffprior.random import Noise
from diffprior.training.conditions import ConditionTrainer
from diffprior.training.labelled import ClassedImages

from support.runs import call, held_out, refused, seeing, squares, steps

LAW = "edm(p_mean=0.0, sigma_max=10.0)"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A square of 4x4 pixels anywhere, bright or gray."""
    return squares(tmp_path_factory.mktemp("conditions"), (4, 4), (220, 130))


@pytest.fixture(scope="module")
def images(file: Path) -> ClassedImages:
    return ClassedImages(file)


@pytest.fixture(scope="module")
def prior(images: ClassedImages) -> ConditionedPrior:
    """The prior that a run of a few steps writes."""
    network, config = seeing(images, LAW)
    run = ConditionTrainer("average(factor=4)", network, images, config, Path("unused"))
    steps(run, 40)
    return ConditionedPrior(Average(4), run.averaged(), run.task, (1, 8, 8), classes=2)


def test_what_is_seen_beats_its_ablation(images: ClassedImages, prior: ConditionedPrior) -> None:
    """Samples under the averages of held-out images are nearer to them than those without."""
    x_0 = held_out(images, 10)
    noise = Noise(0, samples=len(x_0))
    x_T = prior.diffusion.terminal(x_0.shape).sample(noise).float()
    sampler = build("ddim(steps=4, grid='karras')", ("samplers",))
    y = prior.operator(x_0)

    def error(shown: ConditionedPrior) -> float:
        with torch.no_grad():
            return float((sampler(shown, x_T, noise) - x_0).square().mean())

    given, blank, wrong = (error(p) for p in (prior.given(y), prior, prior.given(y.flip(0))))
    assert given < 0.5 * blank and given < 0.5 * wrong


def test_guidance_of_a_class_keeps_what_is_seen(prior: ConditionedPrior) -> None:
    """Both sides of it see y: free + 2 (class - free), each under y."""
    x, t = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8), torch.tensor(0.5)
    y = prior.operator(x)
    guided = prior.with_condition(label=1, guidance_scale=2.0)
    free, own = (p.given(y)(x, t) for p in (prior, prior.for_label(1)))
    expected = free + 2 * (own - free)
    for shown in (under_measurements(guided, y), guided.with_image(x.expand(-1, 3, -1, -1))):
        torch.testing.assert_close(shown(x, t), expected)
    leaf = conditioned_prior(guided)
    assert leaf is not None and leaf.label == 1
    assert not torch.allclose(guided(x, t), expected)
    drawn = diffprior.generate(prior=guided, steps=1, device="cpu").image
    assert drawn.size == (8, 8)


def test_an_image_is_seen_as_the_operator_leaves_it(prior: ConditionedPrior) -> None:
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    t = torch.tensor(0.5)
    y = prior.operator(x)
    shown = prior.with_image(x.expand(-1, 3, -1, -1))
    assert torch.equal(shown(x, t), prior.given(y)(x, t))
    assert not torch.equal(shown(x, t), prior(x, t))
    assert torch.equal(shown.with_image()(x, t), prior(x, t))
    assert prior.measures(Average(4)) and not prior.measures(Average(2))
    with pytest.raises(UnsuitedError, match="an image that a network sees is not cut"):
        shown(torch.zeros(1, 1, 4, 4), t)


@pytest.mark.parametrize("text", ["gray", "average(factor=2)", "blur(kernel='gaussian:1')"])
def test_measurements_as_images(text: str) -> None:
    """Themselves, or what explains them with the least norm."""
    A = build(text, ("operators",)).for_shape((3, 8, 8))
    x = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)
    y = A(x)
    shown = as_image(A, y, (3, 8, 8))
    assert torch.equal(shown, y) if y.shape == x.shape else torch.allclose(A(shown), y, atol=1e-6)


def test_the_command_trains_one_and_tasks_use_it(tmp_path: Path) -> None:
    """A prior of colors under gray: colorize shows it the gray photo, and sdedit any image."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(3):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    words = ("--condition", "gray(weights='luminance')", "--side", 16, "--steps", 2, "--batch", 2)
    more = ("--network", "unet(channels=[8])", "--out", tmp_path / "run")
    done = call(tmp_path / "photos", *words, *more)
    assert done.exit_code == 0, done.output
    prior = load_prior(tmp_path / "run" / "weights")
    assert isinstance(prior, ConditionedPrior) and prior.shape == (3, 16, 16)
    assert isinstance(prior.operator, Gray) and prior.sha256
    gray = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    few = "dps(sampler=ddim(steps=2))"
    colored = diffprior.colorize(gray, prior=prior, method=few, device="cpu", seed=1)
    blind = diffprior.colorize(
        gray, prior=prior._replace(operator=Average(2)), method=few, device="cpu", seed=1
    )
    assert not np.array_equal(np.asarray(colored.image), np.asarray(blind.image))
    edited = diffprior.sdedit(gray, prior=prior, strength=1.0, steps=2, device="cpu")
    assert edited.image.shape[-2:] == (16, 16)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--condition", "gray", "--latent", "4"], "give --latent or --condition"),
        (["--condition", "nothing"], "nothing"),
        (["--condition", "average(factor=3)"], "average of 3 x 3 pixels"),
        (["--condition", "gray"], "gray takes images of 3 channels, got 1"),
    ],
)
def test_what_does_not_fit_a_condition_is_one_sentence(
    file: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    refused(call(file, "--out", tmp_path / "run", "--steps", 2, *words), message)


def test_a_run_goes_on_with_its_own_operator_alone(images: ClassedImages, tmp_path: Path) -> None:
    """The weights of both networks have the same shapes."""
    network, config = seeing(images, LAW)
    begun = ConditionTrainer("average(factor=4)", network, images, config, tmp_path)
    begun.save()
    assert ConditionTrainer("average(factor=4)", network, images, config, tmp_path).resume()
    other = ConditionTrainer("average(factor=2)", network, images, config, tmp_path)
    with pytest.raises(SettingError, match=r"was begun with operator 'average\(factor=4\)', not"):
        other.resume()
