"""Denoising, enlarging, coloring and sharpening of photographs, through the public doors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.catalog import SettingError
from diffprior.errors import ResidualWarning
from diffprior.io import files
from diffprior.operators.average import Average
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.blur import Blur
from diffprior.operators.generators.masks import draw
from diffprior.runtime.noise_level import wavelet_noise

from support import shell
from support.exact import random

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
GRAY = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


@pytest.fixture(scope="module")
def dog() -> Tensor:
    """A photograph ``(3, 96, 96)`` in [0, 1]."""
    x = files.read(SAMPLES / "dog.png").images.tensor()[0, :, 110:206, 240:336]
    return ((x + 1) * 127.5).round() / 255


def noise(x: Tensor, sigma: float, seed: int = 0) -> Tensor:
    return (x + sigma * random(*x.shape, seed=seed, dtype=torch.float32)).clamp(0, 1)


def psnr(x: Tensor, truth: Tensor) -> float:
    return metrics.psnr(2 * x[None] - 1, 2 * truth[None] - 1).item()


# Denoising


def test_denoising_is_one_call_of_the_prior(dog: Tensor) -> None:
    """The posterior mean: D(y; 2 sigma), to the rounding of the clip."""
    y = noise(dog, 0.1)
    out = diffprior.denoise(y, sigma=0.1, dtype="float32")
    prior = diffprior.load_prior().for_shape((3, 96, 96))
    with torch.no_grad():
        expected = prior((2 * y - 1)[None], prior.diffusion.schedule.time(0.2))[0]
    torch.testing.assert_close(out.image, (expected.clamp(-1, 1) + 1) / 2, rtol=0, atol=1e-5)
    assert out.report["network_calls"] == 1
    assert psnr(out.image, dog) > psnr(y, dog) + 8


def test_a_result_says_how_well_it_fits(dog: Tensor) -> None:
    """chi2 near 1 with the right sigma; a wrong one is warned of, with the way to mend it."""
    y = noise(dog, 0.05)
    fit = (2 * y - 2 * diffprior.denoise(y, sigma=0.05).image).square().mean() / 0.1**2
    report = diffprior.denoise(y, sigma=0.05).report
    assert abs(report["chi2"][0] - fit) < 0.01 and 0.8 < fit < 1
    with pytest.warns(ResidualWarning, match="try a smaller sigma"):
        assert diffprior.denoise(y, sigma=0.1).report["chi2"][0] < 0.5
    with pytest.warns(ResidualWarning, match="try a larger sigma"):
        assert diffprior.deblur(y, "gaussian:1", sigma=0.01, steps=4).report["chi2"][0] > 2


def test_noise_is_estimated_in_each_image_of_a_batch(dog: Tensor) -> None:
    """Those of different noise run apart; each comes out as alone, and the counts are of both."""
    y = torch.stack([noise(dog, 0.05), noise(dog, 0.1)])
    out = diffprior.denoise(y)
    assert torch.equal(out.image[1], diffprior.denoise(y[1], sigma="auto").image)
    assert out.report["sigma"] == pytest.approx([0.05, 0.1], rel=0.15)
    assert out.report["network_calls"] == 2 and len(out.report["chi2"]) == 2
    assert out.report["method"].count("DPIR") == 2


def test_samples_of_a_noisy_image_average_to_its_mean(dog: Tensor) -> None:
    """The mean of four is nearer to the posterior mean than they are: by 6 dB if they were free."""
    y = noise(dog[:, :64, :64], 0.1)
    one = diffprior.denoise(y, sigma=0.1).image
    out = diffprior.denoise(y, sigma=0.1, samples=4, steps=6)
    distances = [psnr(s, one) for s in out.samples]
    assert psnr(out.mean, one) > max(max(distances), sum(distances) / 4 + 3)
    assert out.std.shape == y.shape and out.std.min() > 0


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.15])
def test_the_noise_is_estimated(dog: Tensor, sigma: float) -> None:
    """Within 20% and the texture of the image, on which noise that is not clipped lies."""
    x = 0.25 + dog / 2
    (found,) = wavelet_noise(2 * (x + sigma * random(*x.shape, dtype=torch.float32))[None] - 1)
    (own,) = wavelet_noise(2 * x[None] - 1)
    assert abs(found - (sigma**2 + own**2) ** 0.5) < 0.2 * sigma
    (white,) = wavelet_noise(2 * sigma * random(1, 3, 256, 256))
    assert abs(white - sigma) < 0.02 * sigma


def test_images_of_a_batch_have_noise_of_their_own(dog: Tensor) -> None:
    """Each is denoised at its own estimate, as if it were alone."""
    batch = torch.stack([noise(dog, 0.03), noise(dog, 0.12, seed=1), noise(dog, 0.03)])
    out = diffprior.denoise(batch)
    low, high, again = out.report["sigma"]
    assert low == again and high > 2 * low
    for i in range(3):
        assert torch.equal(out.image[i], diffprior.denoise(batch[i]).image)


# Enlarging


@pytest.mark.parametrize("scale, kernel", [(2, "bicubic"), (3, "bicubic"), (2, "average")])
def test_an_enlarged_image_is_the_image_made_small(dog: Tensor, scale: int, kernel: str) -> None:
    """A x = y to the rounding of the solve; the size is right; it beats bicubic interpolation."""
    A = (Bicubic if kernel == "bicubic" else Average)(scale).for_shape(tuple(dog.shape))
    y = ((A(2 * dog[None] - 1) + 1) / 2).clamp(0, 1)[0]
    out = diffprior.super_resolve(y, scale, kernel=kernel, steps=12)
    assert out.image.shape == dog.shape
    # the result is clipped to [0, 1], the solution is not: compare where nothing was clipped
    back = (A(2 * out.image[None] - 1)[0] + 1) / 2
    assert (back - y).abs().median() < 1e-4 and (back - y).abs().max() < 0.05
    plain = torch.nn.functional.interpolate(y[None], scale_factor=scale, mode="bicubic")[0]
    assert psnr(out.image, dog) > psnr(plain.clamp(0, 1), dog) + 0.2


def test_an_enlarged_pil_image_keeps_its_kind_and_its_transparency(dog: Tensor) -> None:
    rgba = np.zeros((20, 30, 4), np.uint8)
    rgba[..., :3] = (255 * dog[:, :20, :30]).byte().movedim(0, -1).numpy()
    rgba[:, 15:, 3] = 255
    out = diffprior.super_resolve(Image.fromarray(rgba), 2, steps=2)
    assert out.image.mode == "RGBA" and out.image.size == (60, 40)
    alpha = np.asarray(out.image)[..., 3]
    assert (alpha[:, :28] == 0).all() and (alpha[:, 32:] == 255).all()


# Coloring


def test_colors_are_given_to_gray_images_and_the_luma_stays(dog: Tensor) -> None:
    gray = (GRAY * dog).sum(0, keepdim=True)
    out = diffprior.colorize(gray.clamp(0.1, 0.9), steps=4)
    assert out.image.shape == dog.shape
    inside = ((out.image > 0) & (out.image < 1)).all(0)
    error = ((GRAY * out.image).sum(0) - gray[0].clamp(0.1, 0.9)).abs()[inside]
    assert error.max() < 1e-4 and inside.double().mean() > 0.9
    assert (out.image.amax(0) - out.image.amin(0)).mean() > 0.005


def test_colors_that_were_there_are_not_looked_at(dog: Tensor) -> None:
    gray = (GRAY * dog).sum(0, keepdim=True)
    a, b = (diffprior.colorize(x, steps=3, dtype="float32").image for x in (dog, gray))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


# Sharpening


@pytest.mark.parametrize("boundary", ["reflect", "circular"])
def test_a_blur_is_undone(dog: Tensor, boundary: str) -> None:
    y = noise((Blur("gaussian:1.5", boundary)(2 * dog[None] - 1)[0] + 1) / 2, 0.01)
    out = diffprior.deblur(y, "gaussian:1.5", boundary=boundary, sigma=0.01, steps=12)
    assert psnr(out.image, dog) > psnr(y, dog) + 1


def test_each_image_of_a_batch_has_its_own_kernel(dog: Tensor) -> None:
    kernels = torch.stack([torch.eye(5) / 5, torch.eye(5).flip(1) / 5])
    y = (Blur(kernels)(2 * dog.expand(2, -1, -1, -1) - 1) + 1) / 2
    out = diffprior.deblur(y, kernels, sigma=0.01, steps=3)
    for i in range(2):
        alone = diffprior.deblur(y[i], kernels[i], sigma=0.01, steps=3)
        torch.testing.assert_close(out.image[i], alone.image, rtol=0, atol=2e-3)


# Several faults at once


def test_an_old_image_is_mended(dog: Tensor) -> None:
    """Blurred, scratched and noisy, in one solve: 1.5 dB over filling and leaving the rest."""
    scratched = draw("scratches", 96, 96, 0)
    y = noise((Blur("gaussian:1")(2 * dog[None] - 1)[0] + 1) / 2, 0.01) * ~scratched
    out = diffprior.restore(y, scratched, blur="gaussian:1", sigma=0.01, steps=12)
    filled = diffprior.inpaint(y, scratched, steps=12).image
    assert psnr(out.image, dog) > psnr(filled, dog) + 1.5


def test_images_of_a_batch_are_mended_alone(dog: Tensor) -> None:
    """Masks go where their images go, also when noise parts the batch."""
    masks = torch.stack([draw("scratches", 96, 96, i) for i in range(3)])
    y = torch.stack([noise(dog, s, seed=i) for i, s in enumerate((0.02, 0.1, 0.04))]) * ~masks
    out = diffprior.restore(y, masks, gray=True, steps=3)
    assert out.image.shape == y.shape and len(set(out.report["sigma"])) == 3
    for i in range(3):
        assert torch.equal(
            out.image[i], diffprior.restore(y[i], masks[i], gray=True, steps=3).image
        )


def test_a_whole_image_has_no_scratches(dog: Tensor) -> None:
    """Nothing lost, nothing blurred: what is left is denoising, in rounds."""
    y = noise(dog, 0.1)
    assert psnr(diffprior.restore(y, sigma=0.1, steps=6).image, dog) > psnr(y, dog) + 7


# What cannot be


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x: diffprior.super_resolve(x, 1), "^a scale is a whole number from 2 on, got 1$"),
        (lambda x: diffprior.super_resolve(x, kernel="box"), "^no kernel 'box'; there are bicubic"),
        (lambda x: diffprior.deblur(x, "gaussian:wide"), "^cannot read the kernel"),
        (lambda x: diffprior.deblur(x, "nothing.png"), "^no kernel 'nothing.png'; give an image"),
        (lambda x: diffprior.deblur(x, "uniform:3", boundary="x"), "^the boundary of a blur is"),
        (lambda x: diffprior.denoise(x, sigma=3.0), r"^sigma lies in \[0, 1\].* is auto; got 3"),
        (lambda x: diffprior.denoise(x, sigma="car"), r"^sigma lies in .* got car"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_sentence(call, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        call(torch.rand(3, 32, 32))


@pytest.mark.parametrize(
    "command, options, size",
    [
        ("denoise", [], (48, 40)),
        ("upscale", ["--scale", "2", "--steps", "2"], (96, 80)),
        ("colorize", ["--steps", "2"], (48, 40)),
        ("deblur", ["--kernel", "motion:5,30", "--steps", "2"], (48, 40)),
        ("restore", ["--scratches", "lost.png", "--blur", "gaussian:1", "--steps", "2"], (48, 40)),
    ],
)
def test_every_command_takes_a_file(
    dog: Tensor, tmp_path: Path, command: str, options: list[str], size: tuple[int, int]
) -> None:
    array = (255 * dog[:, :40, :48]).round().byte().movedim(0, -1).numpy()
    Image.fromarray(array).save(tmp_path / "dog.png")
    Image.fromarray(255 * np.eye(40, 48, dtype=np.uint8)).save(tmp_path / "lost.png")
    words = [command, "dog.png", "--json", "--compare", *options]
    done = shell.texts(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    with Image.open(tmp_path / said["outputs"]["0"]) as image:
        assert image.size == size and image.mode == "RGB"
        assert json.loads(image.text["diffprior"])["task"] == said["task"]
    with Image.open(tmp_path / said["outputs"]["compare"]) as image:
        assert image.size == (2 * size[0], size[1])


@pytest.mark.parametrize("task", [diffprior.restore, diffprior.inpaint])
def test_a_image_without_a_pixel_left_is_refused(task) -> None:
    x = torch.rand(2, 3, 8, 8, generator=torch.manual_seed(0))
    hidden = torch.zeros(2, 1, 8, 8)
    hidden[1] = 1
    with pytest.raises(ValueError, match="hides? the whole image; to draw one from nothing: gen"):
        task(x, hidden)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (3, 3), (2, 50)])
@pytest.mark.parametrize("task", [diffprior.denoise, diffprior.restore])
def test_thin_images_have_a_noise_too(task, size: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *size, generator=torch.manual_seed(0))
    out = task(x, steps=1)
    assert out.image.shape == x.shape and np.isfinite(out.report["sigma"]).all()


def test_no_method_is_not_the_usual_one() -> None:
    for method in ("", "3", 3):
        with pytest.raises(SettingError, match="^cannot read .*; write a name, or name"):
            diffprior.denoise(torch.rand(3, 8, 8), sigma=0.1, method=method)
    with pytest.raises(ValueError, match="^no prior ''; give one of "):
        diffprior.denoise(torch.rand(3, 8, 8), sigma=0.1, prior="")
