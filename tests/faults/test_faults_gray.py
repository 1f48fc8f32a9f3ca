"""Gray photos, whatever file or array they come in, and photos of one tone."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.restoration import denoise_nl_means
from torch import Tensor

import diffprior
from diffprior.io import files
from diffprior.io.arrays import as_images
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.blur import Blur
from diffprior.operators.generators.kernels import kernel

from support.exact import random
from support.shell import diffprior as shell

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
SEPIA = torch.tensor([1.351, 1.203, 0.937])[:, None, None] * 0.74
SIGMA = 25 / 255


def rounded(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round() / 255


def psnr(x: Any, truth: Tensor) -> float:
    """PSNR of any image next to a truth ``([C,] H, W)`` in [0, 1]."""
    y = (as_images(x).tensor()[0] + 1) / 2
    return float(-10 * (y - truth).square().mean().log10())


@pytest.fixture(scope="module")
def color() -> Tensor:
    """A photograph ``(3, 72, 72)`` in [0, 1]."""
    x = files.read(SAMPLES / "dog.png").images.tensor()[0, :, 122:194, 252:324]
    return rounded((x + 1) / 2)


@pytest.fixture(scope="module")
def clean(color: Tensor) -> Tensor:
    """A gray photograph ``(1, 72, 72)`` in [0, 1]."""
    return rounded((LUMA * color).sum(0, keepdim=True))


@pytest.fixture(scope="module")
def noise(clean: Tensor) -> Tensor:
    return SIGMA * random(*clean.shape, dtype=torch.float32)


@pytest.fixture(scope="module")
def noisy(clean: Tensor, noise: Tensor) -> Tensor:
    return rounded(clean + noise)


@pytest.fixture(scope="module")
def usual(noisy: Tensor) -> diffprior.Result[Tensor]:
    return diffprior.denoise(noisy)


def pixels(x: Tensor, channels: int = 1) -> np.ndarray:
    """Return ``(C, H, W)`` in [0, 1] as uint8 ``(H, W, C)``."""
    return (255 * x.expand(channels, -1, -1)).round().byte().movedim(0, -1).numpy()


def with_alpha(x: Tensor, channels: int) -> Image.Image:
    """Return an image whose first rows are clear, and hide colors."""
    array = np.concatenate([pixels(x, channels), np.full((*x.shape[1:], 1), 255, np.uint8)], -1)
    array[:4, :, -1] = 0
    if channels == 3:
        array[:4, :, 0] = 255
    return Image.fromarray(array)


def palette(x: Tensor) -> Image.Image:
    image = Image.fromarray(pixels(x)[..., 0])
    image.putpalette([v for level in range(256) for v in (level, level, level)])
    assert image.mode == "P"
    return image


KINDS: dict[str, Callable[[Tensor], Any]] = {
    "L": lambda x: Image.fromarray(pixels(x)[..., 0]),
    "LA": lambda x: with_alpha(x, 1),
    "P": palette,
    "RGB": lambda x: Image.fromarray(pixels(x, 3)),
    "RGBA, colors under alpha 0": lambda x: with_alpha(x, 3),
    "I;16": lambda x: Image.fromarray(257 * pixels(x)[..., 0].astype(np.uint16)),
    "F": lambda x: Image.fromarray(x[0].numpy()),
    "numpy (H, W)": lambda x: x[0].double().numpy(),
    "numpy (H, W, 1)": pixels,
    "numpy RGB of 16 bits": lambda x: 257 * pixels(x, 3).astype(np.uint16),
    "tensor of 3 channels": lambda x: x.expand(3, -1, -1).half().float(),
}


def is_gray(image: Any) -> bool:
    values = as_images(image).values
    return bool((values == values[..., :1]).all())


@pytest.mark.saw("denoise found a tenth of the noise of a gray photo and cleaned nothing")
@pytest.mark.parametrize("kind", KINDS)
def test_denoising_cleans_gray(
    kind: str, clean: Tensor, noisy: Tensor, usual: diffprior.Result[Tensor]
) -> None:
    """All kinds alike, to the rounding of their files; in gray, and of their kind."""
    image = KINDS[kind](noisy)
    out = diffprior.denoise(image)
    assert type(out.image) is type(image) or kind == "P"
    assert out.report["sigma"] == pytest.approx([SIGMA], rel=0.1)
    assert 0.85 < out.report["chi2"][0] < 1.1
    shown = (as_images(out.image).tensor()[0, :, 24:] + 1) / 2  # far from what is clear
    assert (shown - usual.image[:, 24:]).abs().max() < 4 / 255
    assert is_gray(out.image) or "alpha 0" in kind
    by_patches = denoise_nl_means(
        noisy[0].numpy(), h=0.8 * SIGMA, sigma=SIGMA, patch_size=5, patch_distance=6
    )
    assert psnr(shown, clean[:, 24:]) > psnr(by_patches[24:], clean[:, 24:]) + 0.4


@pytest.mark.saw("a gray JPEG, and a gray photo with --sigma, came back half as noisy as they were")
def test_the_command_cleans_gray(tmp_path: Path, clean: Tensor, noisy: Tensor) -> None:
    Image.fromarray(pixels(noisy)[..., 0]).save(tmp_path / "photo.jpg", quality=97)
    done = shell("denoise", "photo.jpg", "--sigma", "0.098", "-o", "out.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.png") as out:
        assert out.mode == "L"
        assert psnr(out, clean) > psnr(noisy, clean) + 8


@pytest.mark.saw("the noise of a gray photo was estimated at 2 levels, whether it was 10 or 50")
@pytest.mark.parametrize("level", [5, 10, 15, 50])
def test_the_noise_of_gray_is_found(clean: Tensor, level: int) -> None:
    y = (clean * 0.5 + 0.25 + level / 255 * random(*clean.shape, dtype=torch.float32)).clamp(0, 1)
    assert diffprior.denoise(y).report["sigma"][0] * 255 == pytest.approx(level, rel=0.15)


@pytest.mark.saw("several samples of a gray photo were as noisy as the photo")
def test_samples_of_gray_are_gray_and_explain_it(clean: Tensor, noisy: Tensor) -> None:
    out = diffprior.denoise(noisy.expand(3, -1, -1), sigma=SIGMA, samples=2)
    fits = [(y - noisy).square().mean() / SIGMA**2 for y in out.samples]
    assert out.report["chi2"][0] == pytest.approx(float(sum(fits)) / 2, rel=0.02)
    assert 0.6 < out.report["chi2"][0] < 1.1
    assert all(is_gray(y) for y in out.samples)
    assert all(psnr(y, clean) > psnr(noisy, clean) + 1.5 for y in out.samples)


Task = Callable[[Tensor], diffprior.Result[Tensor]]
HOLE = torch.zeros(1, 72, 72)
HOLE[:, 30:50, 40:44] = 1
BLUR = Blur(kernel("gaussian:1"))


def made_small(x: Tensor) -> Tensor:
    return Bicubic(2).for_shape(x.shape)(x[None])[0]


def blurred(x: Tensor) -> Tensor:
    return BLUR.for_shape(x.shape)(x[None])[0]


@pytest.mark.saw("upscale, inpaint, deblur and restore left most of the noise of a gray photo")
@pytest.mark.parametrize(
    ("task", "measure", "gain"),
    [
        (partial(diffprior.super_resolve, scale=2, sigma=10 / 255, steps=12), made_small, 1.0),
        (partial(diffprior.inpaint, mask=HOLE, sigma=10 / 255, steps=12), lambda x: x, 2.0),
        (partial(diffprior.deblur, kernel="gaussian:1", sigma=10 / 255), blurred, 0.2),
        (partial(diffprior.restore, scratches=HOLE, sigma=10 / 255, steps=12), lambda x: x, 2.0),
    ],
    ids=["upscale", "inpaint", "deblur", "restore"],
)
def test_all_tasks_know_the_noise_of_gray(
    task: Task, measure: Callable[[Tensor], Tensor], gain: float, clean: Tensor
) -> None:
    """Better than for a photo whose three channels are taken for three measurements."""
    exact = measure(clean)
    y = (exact + 10 / 255 * random(*exact.shape, seed=3, dtype=torch.float32)).clamp(0, 1)
    out = task(y)
    assert 0.7 < out.report["chi2"][0] < 1.2
    thrice = y.expand(3, -1, -1).clone()  # red and green in a corner: no gray image, nor one tone
    thrice[:, -1, -8:] = torch.tensor([1.0, 0.0, 0.0])[:, None]
    thrice[:, -2, -8:] = torch.tensor([0.0, 1.0, 0.0])[:, None]
    assert psnr(out.image, clean) > psnr(task(thrice).image, clean) + gain


def jpeg(x: Tensor, quality: int, subsampling: int = 0) -> Image.Image:
    file = BytesIO()
    Image.fromarray(pixels(x, 3)).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file)


TONED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Any]]] = {
    "channels a level apart": (
        lambda x: x.expand(3, -1, -1),
        lambda x: x + (random(3, *x.shape[1:], seed=5, dtype=torch.float32) / 255).clamp(-1, 1) / 2,
    ),
    "yellowish paper": (
        lambda x: x * torch.tensor([1.0, 0.94, 0.82])[:, None, None],
        lambda x: rounded(x * torch.tensor([1.0, 0.94, 0.82])[:, None, None]),
    ),
    "sepia": (lambda x: x * SEPIA, lambda x: rounded(x * SEPIA)),
    "sepia, JPEG": (lambda x: x * SEPIA, lambda x: jpeg(x * SEPIA, 92, 2)),
}


@pytest.mark.saw("a sepia photo, and a gray one with colors a level apart, kept all of their noise")
@pytest.mark.parametrize("kind", TONED)
def test_an_image_of_one_tone_is_cleaned_and_keeps_it(
    kind: str, clean: Tensor, noisy: Tensor
) -> None:
    tint, store = TONED[kind]
    image = store(noisy)
    if isinstance(image, Tensor):
        image = image.clamp(0, 1)
    truth = tint(clean).clamp(0, 1)
    out = diffprior.denoise(image)
    assert psnr(out.image, truth) > psnr(image, truth) + 7
    mean = (as_images(out.image).tensor()[0] + 1).mean((1, 2)) / 2
    assert (mean - truth.mean((1, 2))).abs().max() < 2 / 255


@pytest.mark.saw("grain laid over a color photo, the same in all channels, was not found")
def test_gray_noise_over_pale_colors_is_cleaned(color: Tensor, noise: Tensor) -> None:
    y = (color + noise).clamp(0, 1)
    assert psnr(diffprior.denoise(y).image, color) > psnr(y, color) + 7


@pytest.mark.saw("a red stamp on a gray photo was gray when the noise was gone")
def test_what_has_a_color_keeps_it(clean: Tensor, noise: Tensor) -> None:
    stamped = clean.expand(3, -1, -1).clone()
    red = torch.tensor([0.8, 0.1, 0.1])[:, None, None]
    stamped[:, 8:14, 8:14] = red
    noisy = (stamped + noise).clamp(0, 1)
    out = diffprior.denoise(noisy).image
    assert (out[:, 9:13, 9:13].mean((1, 2)) - red.flatten()).abs().max() < 0.12
    assert psnr(out, stamped) > psnr(noisy, stamped) + 5


@pytest.mark.saw("one gray photo among color ones in a batch came out otherwise than alone")
def test_a_gray_image_in_a_batch_is_what_it_is_alone(
    color: Tensor, noisy: Tensor, noise: Tensor
) -> None:
    noise_of_three = 0.06 * random(3, 72, 72, seed=2, dtype=torch.float32)
    batch = torch.stack(
        [color + noise_of_three, noisy.expand(3, -1, -1), color + 2 * noise_of_three, noisy * SEPIA]
    ).clamp(0, 1)
    for task in (diffprior.denoise, partial(diffprior.inpaint, mask=HOLE, steps=2)):
        out = task(batch)
        alone = [task(x) for x in batch]
        assert torch.equal(out.image, torch.stack([one.image for one in alone]))
        assert out.report["sigma"] == [one.report["sigma"][0] for one in alone]
        assert is_gray(out.image[1])


@pytest.mark.saw("the artifacts of a gray JPEG came back with a cast")
def test_a_gray_jpeg_is_mended_in_gray(clean: Tensor) -> None:
    file = BytesIO()
    Image.fromarray(pixels(clean)[..., 0]).save(file, "JPEG", quality=15)
    for mode in ("L", "RGB"):
        with Image.open(BytesIO(file.getvalue())) as image:
            found = diffprior.dejpeg(image.convert(mode), 15)
            assert psnr(found.image, clean) > psnr(image, clean) + 0.8
            assert is_gray(found.image)


@pytest.mark.saw("paint in the hole of a gray photo made it one of colors, and the fill was tinted")
def test_what_a_hole_hides_has_no_color(clean: Tensor) -> None:
    painted = clean.expand(3, -1, -1).clone()
    painted[:, HOLE[0] > 0] = torch.tensor([1.0, 0.0, 0.0])[:, None]
    out = diffprior.inpaint(painted, HOLE, steps=4)
    assert is_gray(out.image)
    assert torch.equal(out.image, diffprior.inpaint(clean.expand(3, -1, -1), HOLE, steps=4).image)
