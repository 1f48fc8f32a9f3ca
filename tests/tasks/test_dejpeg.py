"""JPEG artifacts: what a file tells, the projection onto it, and the task, at the public doors."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import truncnorm
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.catalog import SettingError
from diffprior.errors import UnsuitedError
from diffprior.io import files
from diffprior.io.arrays import as_images
from diffprior.io.jpeg import read, standard
from diffprior.likelihoods import ConditionableLikelihood, GaussianLikelihood, jpeg
from diffprior.methods import MMPS

from support import shell

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


@pytest.fixture(scope="module")
def dog() -> Image.Image:
    """A photograph of 96 x 96 pixels."""
    return Image.open(SAMPLES / "dog.png").convert("RGB").crop((240, 110, 336, 206))


def coded(image: Image.Image, quality: int, subsampling: str = "4:2:0") -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file)


def psnr(a: Image.Image, b: Image.Image) -> float:
    return metrics.psnr(as_images(a).tensor(), as_images(b).tensor()).item()


# What a file tells


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [10, 40, 85])
def test_the_image_lies_in_the_cells_of_its_file(
    dog: Image.Image, quality: int, subsampling: str
) -> None:
    """And what was decoded on their middles: chroma too, once its interpolation is undone."""
    j = coded(dog, quality, subsampling)
    coding = read(j)
    assert coding == standard(quality, subsampling)
    A = jpeg.Coefficients((3, 96, 96), coding)
    x, y = as_images(dog).tensor(), A.coded(as_images(j).tensor())
    inside = (A(x) - y).abs() <= A.step / 2 + 1  # a level for the rounding of pixels
    assert inside.double().mean() > 0.995
    clear = A.step.expand_as(y) > 6
    off = (y / A.step - (y / A.step).round())[clear].abs()
    assert off[1:].mean() < 0.05  # a random number is 0.25 from the next whole one


@pytest.mark.parametrize("quality, subsampling", [(10, "4:2:0"), (50, "4:4:4"), (80, "4:2:2")])
def test_pixels_show_how_they_were_compressed(
    dog: Image.Image, quality: int, subsampling: str
) -> None:
    x = as_images(coded(dog, quality, subsampling)).tensor()[0]
    assert jpeg.detect(x) == standard(quality, subsampling)


def test_pixels_of_no_jpeg_show_nothing(dog: Image.Image) -> None:
    x = as_images(dog).tensor()[0]
    assert jpeg.detect(x) is None
    assert jpeg.detect(as_images(coded(dog, 20)).tensor()[0, :, 3:, 5:]) is None  # other blocks
    assert jpeg.detect(torch.zeros(3, 32, 32)) is None


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("quality", [5, 30, 75, 90])
def test_the_pixels_of_a_file_agree_with_it_until_they_change(
    dog: Image.Image, quality: int, mode: str
) -> None:
    """Pillow keeps the tables of an image that is made smaller, or painted on, in place."""
    turned, file = Image.Exif(), BytesIO()
    turned[0x0112] = 6
    dog.convert(mode).crop((0, 0, 93, 82)).save(file, "JPEG", quality=quality, exif=turned)
    image = Image.open(file)
    coding = read(image)
    assert jpeg.agrees(as_images(image).tensor()[0], coding)
    image.paste(image.copy(), (3, 5))
    assert not jpeg.agrees(as_images(image).tensor()[0], coding)
    small = Image.open(file)
    small.thumbnail((40, 40))
    assert not jpeg.agrees(as_images(small).tensor()[0], read(small))
    with pytest.raises(ValueError, match="its pixels do not show how it was compressed"):
        diffprior.dejpeg(small)


def test_a_ramp_and_an_image_below_a_block_agree_with_their_file() -> None:
    """What decoding rounds is the same in all pixels of a ramp, and adds up."""
    ramp = np.tile(np.linspace(100, 140, 64).astype(np.uint8), (64, 1))
    for image in (Image.fromarray(ramp), Image.fromarray(ramp[:5, :5])):
        for quality in (5, 50, 75):
            j = coded(image, quality)
            assert jpeg.agrees(as_images(j).tensor()[0], read(j))


@pytest.mark.filterwarnings("ignore:.*its CMYK has no usable profile")
def test_other_files_have_no_coding(dog: Image.Image, tmp_path: Path) -> None:
    dog.save(tmp_path / "a.png")
    dog.save(tmp_path / "a.jpg", quality=30)
    turned = Image.Exif()
    turned[0x0112] = 6
    dog.save(tmp_path / "b.jpg", quality=30, exif=turned)
    dog.convert("CMYK").save(tmp_path / "c.jpg", quality=30)
    codings = [files.read(tmp_path / n).coding for n in ("a.jpg", "a.png", "b.jpg", "c.jpg")]
    assert codings == [standard(30), None, replace(standard(30), orientation=6), None]
    gray = coded(dog.convert("L"), 30)
    assert read(gray).luma == standard(30).luma


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_file_is_undone_as_it_lies(dog: Image.Image, orientation: int) -> None:
    """A camera on its side: the coefficients are those of the file, and decode gives it upright."""
    file, exif = BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    dog.crop((0, 0, 48, 32)).save(file, "JPEG", quality=20, exif=exif)
    lying = Image.open(file)
    coding, upright = read(lying), as_images(lying).tensor()
    A = jpeg.Coefficients(tuple(upright.shape[1:]), coding)
    flat = Image.fromarray(np.asarray(lying.convert("RGB")))
    B = jpeg.Coefficients((3, 32, 48), replace(coding, orientation=1))
    torch.testing.assert_close(A(upright), B(as_images(flat).tensor()))
    torch.testing.assert_close(A(A.decode(A(upright))), A(upright), rtol=1e-4, atol=1e-2)
    off = A.coded(upright)[:, : 48 * 32] / A.step[:, : 48 * 32]  # luma, up to rounding to pixels
    assert (off - off.round()).abs().median() < 0.05


# The coefficients and their cells


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_coefficients_are_an_orthonormal_transform_of_planes(subsampling: str) -> None:
    """Against scipy's DCT, and A decode(z) = z; the adjoint is the transpose."""
    from scipy.fft import dctn

    A = jpeg.Coefficients((3, 32, 48), standard(50, subsampling)).double()
    A.basis = torch.from_numpy(dctn(np.eye(8), axes=[0], norm="ortho"))
    x = torch.rand(2, 3, 32, 48, dtype=torch.float64, generator=torch.manual_seed(0)) - 0.5
    z = A(x)
    luma = 127.5 * (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    expected = dctn(luma[1, 8:16, 16:24].numpy(), norm="ortho")
    torch.testing.assert_close(
        A.split(z)[0][1, 1, 2], torch.from_numpy(expected), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(A(A.decode(z)), z, rtol=0, atol=1e-8)
    y = torch.randn_like(z)
    assert abs((z * y).sum() - (x * A.adjoint(y)).sum()) < 1e-8 * z.norm() * y.norm()


def test_the_variance_of_coefficients_is_that_of_noise() -> None:
    A = jpeg.Coefficients((3, 64, 64), standard(50)).double()
    x = torch.randn(40, 3, 64, 64, dtype=torch.float64, generator=torch.manual_seed(1))
    said, seen = A.split(A.gain()), A.split(A(x))
    for s, z in zip(said, seen, strict=True):
        n = z.numel()
        assert abs(z.square().mean() / s.mean() - 1) < 4 * (2 / n) ** 0.5


def test_the_mean_of_a_truncated_gaussian() -> None:
    """Against scipy, from intervals far in a tail to those as good as unbounded."""
    low = torch.linspace(-12, 12, 41, dtype=torch.float64)[:, None]
    high = low + torch.tensor([0.1, 1.0, 5.0, 20.0])
    m, s = torch.tensor(0.7).double(), torch.tensor(1.3).double()
    found = jpeg.truncated(m, s, low.expand_as(high), high)
    expected = truncnorm.mean((low - m) / s, (high - m) / s, loc=m, scale=s)
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=0, atol=2e-5)
    far = jpeg.truncated(
        torch.zeros(2), torch.full((2,), 1e-3), *torch.tensor([[5.0, -9], [9, -5]])
    )
    torch.testing.assert_close(far, torch.tensor([5.0, -5.0]), rtol=0, atol=1e-3)


def test_conditioning_puts_an_image_into_its_cells(dog: Image.Image) -> None:
    """Into the nearest corner for a sure guess, the middle for one that knows nothing."""
    A = jpeg.Coefficients((3, 96, 96), standard(20)).double()
    y = A.coded(as_images(coded(dog, 20)).tensor().double())
    likelihood = jpeg.CellLikelihood(operator=A, y=y)
    guess = torch.zeros(1, 3, 96, 96, dtype=torch.float64)
    sure, open_ = likelihood.condition(guess, 1e-10), likelihood.condition(guess, 1e6)
    assert likelihood.residual(guess).abs().max() > 100
    assert likelihood.residual(sure).abs().max() < 1e-2
    torch.testing.assert_close(
        A(sure), A(guess).clamp(y - A.step / 2, y + A.step / 2), rtol=0, atol=0.02
    )
    torch.testing.assert_close(A(open_), y, rtol=0, atol=0.02)


def test_uniform_noise_in_a_cell_is_no_gaussian(dog: Image.Image) -> None:
    """It can be conditioned on, and methods that need a Gaussian refuse it."""
    A = jpeg.Coefficients((3, 96, 96), standard(20))
    likelihood = jpeg.CellLikelihood(operator=A, y=A.coded(as_images(coded(dog, 20)).tensor()))
    assert isinstance(likelihood, ConditionableLikelihood)
    assert not isinstance(likelihood, GaussianLikelihood)
    with pytest.raises(UnsuitedError, match="MMPS needs a GaussianLikelihood, got CellLikelihood"):
        MMPS()(diffprior.load_prior().for_shape((3, 96, 96)), likelihood)


# The task


@pytest.mark.parametrize("quality, subsampling, gain", [(10, "4:2:0", 0.8), (20, "4:4:4", 0.8)])
def test_a_file_is_freed_of_its_artefacts(
    dog: Image.Image, quality: int, subsampling: str, gain: float
) -> None:
    """It is nearer to the truth, and yet what the file says: saved again it is as good as that."""
    j = coded(dog, quality, subsampling)
    out = diffprior.dejpeg(j, steps=6)
    assert out.image.size == dog.size and out.report["subsampling"] == subsampling
    assert psnr(out.image, dog) > psnr(j, dog) + gain
    assert psnr(coded(out.image, quality, subsampling), j) > psnr(out.image, j) + 3


def test_what_the_file_says_can_also_be_given_or_seen(dog: Image.Image) -> None:
    j = coded(dog, 15)
    plain = np.asarray(j)
    seen = diffprior.dejpeg(plain, steps=2).image
    assert np.array_equal(seen, diffprior.dejpeg(plain, 15, steps=2).image)
    assert np.array_equal(seen, np.asarray(diffprior.dejpeg(j, steps=2).image))
    assert not np.array_equal(seen, diffprior.dejpeg(plain, 50, steps=2).image)


def test_images_of_a_batch_are_freed_alone(dog: Image.Image) -> None:
    y = torch.cat([as_images(coded(i, 20)).tensor() for i in (dog, dog.rotate(180))]) / 2 + 0.5
    out = diffprior.dejpeg(y, 20, samples=2, steps=2, seed=3)
    for i in range(2):
        alone = diffprior.dejpeg(y[i], 20, samples=2, steps=2, seed=3)
        for a, b in zip(out.samples, alone.samples, strict=True):
            torch.testing.assert_close(a[i], b, rtol=0, atol=2e-3)
    assert out.std.shape == y.shape and out.std.max() > 0


@pytest.mark.parametrize("size", [(17, 23), (64, 40)])
def test_any_size_will_do(dog: Image.Image, size: tuple[int, int]) -> None:
    part = dog.crop((20, 20, 20 + size[0], 20 + size[1]))
    j = coded(part, 10)
    out = diffprior.dejpeg(j, steps=4)
    assert out.image.size == size and psnr(out.image, part) > psnr(j, part) + 0.2


@pytest.mark.parametrize(
    "options, kind, words",
    [
        ({"quality": 0}, SettingError, "^quality is a whole number from 1 to 100, got 0$"),
        ({"quality": 50, "subsampling": "4:1:0"}, SettingError, "^no subsampling '4:1:0'; there"),
        ({"subsampling": "4:2:0"}, SettingError, "^a subsampling is given beside a quality"),
        ({}, ValueError, "^this is no JPEG file, and its pixels do not show how it was"),
    ],
)
def test_what_cannot_be_is_one_sentence(options: dict, kind: type, words: str) -> None:
    x: Tensor = torch.rand(3, 32, 32, generator=torch.manual_seed(0))
    with pytest.raises(kind, match=words):
        diffprior.dejpeg(x, **options)


def test_the_command(dog: Image.Image, tmp_path: Path) -> None:
    """A JPEG file says how it was compressed; an image that was touched since does not."""
    dog.save(tmp_path / "dog.jpg", quality=12)
    Image.open(tmp_path / "dog.jpg").resize((90, 90)).save(tmp_path / "small.png")
    words = ("dejpeg", "dog.jpg", "small.png", "--json", "--steps", "4")
    done = shell.texts(*words, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "small.png: this is no JPEG file" in done.stderr
    said = json.loads(done.stdout)
    assert said["luma_step"] == standard(12).luma[0] and said["subsampling"] == "4:2:0"
    with Image.open(tmp_path / "dog.dejpegged.png") as image:
        assert psnr(image, dog) > psnr(Image.open(tmp_path / "dog.jpg"), dog) + 0.7
