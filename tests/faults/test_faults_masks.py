"""Masks as people have them: of other values than 255, painted, lossy, turned, one for each."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from diffprior.classical.fill import biharmonic
from diffprior.io import arrays, files
from diffprior.io.arrays import ImageError, as_images
from diffprior.io.masks import MaskReading, interpret, mask_tensor, read_mask
from diffprior.metrics import psnr
from diffprior.operators.generators.masks import draw
from diffprior.runtime.masks import soft_mask

from support.shell import complaint, diffprior

HOLE = np.zeros((48, 64), bool)
HOLE[10:30, 20:50] = True
BITS = HOLE.astype(np.uint8)
PHOTO = as_images(np.zeros((48, 64, 3), np.uint8))


def painted(color: tuple[int, ...], ground: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.where(HOLE[..., None], color, ground).astype(np.uint8))


def palette(*colors: tuple[int, int, int], indices: np.ndarray = BITS) -> Image.Image:
    image = Image.fromarray(indices, "P")
    image.putpalette([value for color in colors for value in color])
    return image


def compressed(array: np.ndarray, kind: str = "JPEG", quality: int = 75) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


TWO_VALUES: dict[str, Any] = {
    "0 and 1": BITS,
    "0 and 1 in 16 bits": BITS.astype(np.uint16),
    "0 and 255 in 16 bits": BITS.astype(np.uint16) * 255,
    "0 and 254": BITS * 254,
    "0 and 128": BITS * 128,
    "1 and 255": 1 + BITS * 254,
    "2 and 253": 2 + BITS * 251,
    "100 and 150": 100 + BITS * 50,
    "red on nothing in 16 bits": np.dstack(
        [BITS * np.uint16(65535), 0 * BITS, 0 * BITS, BITS * np.uint16(65535)]
    ),
    "0 and 255 on nothing in 16 bits": np.dstack([BITS * np.uint16(255), BITS * np.uint16(255)]),
    "dark red on nothing that is white": painted((60, 0, 0, 255), (255, 255, 255, 0)),
    "int64": BITS.astype(np.int64) * 255,
    "int32 with classes 0 and 7": BITS.astype(np.int32) * 7,
    "int32 in PIL": Image.fromarray(BITS.astype(np.int32)),
    "1 bit": Image.fromarray(HOLE),
    "palette of one class": palette((0, 0, 0), (128, 0, 0)),
    "palette of gray numbers": palette((0, 0, 0), (1, 1, 1)),
    "palette, white first": palette((255, 255, 255), (0, 0, 0), indices=1 - BITS),
    "red on black": painted((255, 0, 0), (0, 0, 0)),
    "blue on black": painted((0, 0, 255), (0, 0, 0)),
    "dark green on black": painted((0, 60, 0), (0, 0, 0)),
    "red on nothing": painted((255, 0, 0, 255), (0, 0, 0, 0)),
    "red on nothing that is white": painted((255, 0, 0, 255), (255, 255, 255, 0)),
    "black on nothing": painted((0, 0, 0, 255), (0, 0, 0, 0)),
    "white on nothing, LA": painted((255, 255), (255, 0)),
    "white on black, opaque": painted((255, 255, 255, 255), (0, 0, 0, 255)),
    "white on black, alpha 0 all over": painted((255, 255, 255, 0), (0, 0, 0, 0)),
    "float": HOLE.astype(np.float64),
    "float32 tensor": torch.from_numpy(HOLE).float(),
    "uint8 tensor": torch.from_numpy(BITS),
    "int64 tensor": torch.from_numpy(BITS).long() * 255,
}


@pytest.mark.saw("nothing, or a fraction, was filled, and nothing was said")
@pytest.mark.parametrize("name", TWO_VALUES)
def test_two_values_are_a_mask_whatever_they_are(name: str) -> None:
    m = mask_tensor(TWO_VALUES[name], PHOTO)
    np.testing.assert_array_equal(m[0, 0].numpy(), HOLE.astype(np.float32))


@pytest.mark.saw("a mask of 254 blended, and --feather had nothing to begin at")
@pytest.mark.parametrize("top", [253, 254])
def test_nearly_white_is_white_and_nearly_black_is_black(top: int) -> None:
    mask = BITS * np.uint8(top)
    mask[40:] = 2
    mask[10, 20] = 128
    m = mask_tensor(mask, PHOTO)[0, 0]
    assert m[10, 20] == pytest.approx(128 / 255)
    assert ((m == 1).numpy() == (mask == top)).all() and (m[40:] == 0).all()


@pytest.mark.saw("edges that were drawn smooth became hard, or the blend was gone")
def test_gray_still_blends() -> None:
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    ramp[:, :40] = 0
    for mask in (ramp, Image.fromarray(ramp), ramp.astype(np.uint16) * 257, ramp.astype(np.uint16)):
        m = mask_tensor(mask, PHOTO)[0, 0].numpy()
        np.testing.assert_allclose(m[:, 40:-1], ramp[:, 40:-1] / 255, atol=1e-6)
    big = Image.new("RGB", (256, 192))
    ImageDraw.Draw(big).line((20, 30, 240, 150), fill=(0, 0, 255), width=20)
    line = np.asarray(big.resize((64, 48), Image.Resampling.BOX))
    np.testing.assert_allclose(mask_tensor(line, PHOTO)[0, 0], line[..., 2] / 255, atol=0.009)


def doubts(mask: Any, like: Any = PHOTO) -> str:
    return "; ".join(interpret(mask, like).doubts)


@pytest.mark.saw("a mask without any white changed the image by a few percent, in silence")
def test_what_may_be_meant_otherwise_is_said() -> None:
    several = BITS * np.uint8(7)
    several[40:] = 19
    assert "19 of 255, so at most 7.5% of the filling shows" in doubts(several)
    assert "0.5 of 1, so at most 50.0%" in doubts(HOLE * 0.5)
    ignored = BITS.copy()
    ignored[40:] = 255
    assert "1 of 255 beside 0, which count as black" in doubts(ignored)
    assert "hides 80% of the image" in doubts((1 - BITS) * np.uint8(255))
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    assert "97% of the mask is gray" in doubts(ramp)
    assert doubts(BITS) == doubts(BITS * 128) == ""
    with pytest.warns(UserWarning, match=r"at most 7\.5% of the filling"):
        said = soft_mask(several, PHOTO).report["mask"]
    assert "19 of 255" in said
    assert soft_mask(BITS * 128, PHOTO).report["mask"] == (
        "of its two values, 0 and 128, the larger is filled"
    )


CLASSES = BITS + 2 * (np.arange(48)[:, None] > 40).astype(np.uint8) * np.ones_like(BITS)
REFUSED: dict[str, tuple[Any, str]] = {
    "classes 0, 1 and 2": (CLASSES, "holds the values 0, 1, 2 of 255, all of them black"),
    "a palette of classes": (
        palette((0, 0, 0), (128, 0, 0), (0, 128, 0), indices=CLASSES),
        "several colors",
    ),
    "red on white": (painted((255, 0, 0), (255, 255, 255)), "several colors"),
    "one value": (Image.fromarray(0 * BITS + 77), "one value alone, 77 of 255"),
    "one value, of a file": (Image.fromarray(0 * BITS + 1), "one value alone, 1 of 255"),
}


@pytest.mark.saw("labels of several classes, or a photograph, were taken as a mask")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_mask_is_refused(name: str) -> None:
    mask, message = REFUSED[name]
    with pytest.raises(ImageError, match=message) as caught:
        mask_tensor(mask, PHOTO)
    assert len(str(caught.value)) < 300


def strokes() -> np.ndarray:
    return draw("scratches", 128, 128, 3)[0].numpy()


@pytest.mark.saw("a JPEG mask lost 3 to 7 dB: each gray pixel round an edge counted as unknown")
@pytest.mark.parametrize("quality", [50, 75, 90, 95])
@pytest.mark.parametrize("kind", ["file", "array", "red"])
def test_a_lossy_mask_is_the_mask_that_was_drawn(kind: str, quality: int) -> None:
    drawn = strokes()
    plain = drawn.astype(np.uint8) * 255
    if kind == "red":
        plain = np.stack([plain, 0 * plain, 0 * plain], -1)
    mask: Any = compressed(plain, quality=quality)
    if kind == "array":
        mask = np.asarray(mask)
    m = mask_tensor(mask, as_images(np.zeros((128, 128, 3), np.uint8)))[0, 0].numpy()
    wrong = ((m > 0) != drawn).mean()
    assert wrong < (0.03 if kind == "red" else 0.004)
    assert not (m[drawn] == 0).any()


@pytest.mark.saw("a JPEG mask lost 3 to 7 dB")
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_lossy_mask_costs_no_psnr(kind: str, sample: torch.Tensor, tmp_path: Path) -> None:
    drawn = strokes()
    path = tmp_path / f"m.{kind.lower()}"
    Image.fromarray(drawn.astype(np.uint8) * 255).convert("RGB").save(path, kind, quality=75)
    like = as_images(np.zeros((128, 128, 3), np.uint8))
    truth = torch.from_numpy(drawn)[None, None]
    scores = []
    for weights in (truth.float(), mask_tensor(read_mask(path), like)):
        filled = biharmonic(sample.where(~truth, 1.0), weights > 0)
        out = sample.where(~truth, 1.0) * (1 - weights) + weights * filled
        scores.append([psnr(out, sample, part).item() for part in (truth, truth | ~truth)])
    np.testing.assert_allclose(scores[1], scores[0], atol=0.3)


@pytest.fixture
def sample() -> torch.Tensor:
    image = files.read(Path(__file__).parents[2] / "data" / "samples" / "flowers.png").images
    return image.tensor()[..., 60:188, 60:188]


@pytest.mark.saw("soft and smooth masks were taken for lossy ones")
def test_drawn_masks_are_not_taken_for_lossy_ones() -> None:
    drawn = Image.fromarray(strokes().astype(np.uint8) * 255)
    masks = [
        drawn.filter(ImageFilter.GaussianBlur(4)),
        drawn.rotate(7, Image.Resampling.BILINEAR),
        drawn.resize((400, 400), Image.Resampling.BILINEAR),
        drawn.resize((60, 60), Image.Resampling.BOX),
    ]
    for mask in masks:
        like = as_images(np.zeros((mask.height, mask.width), np.uint8))
        reading: MaskReading = interpret(mask, like)
        gray = np.asarray(mask) / 255
        gray = np.where(gray >= 253 / 255, 1, np.where(gray <= 2 / 255, 0, gray))
        assert not reading.notes
        np.testing.assert_allclose(reading.weights[0, 0], gray, atol=1e-6)


def turned_photo(orientation: int, folder: Path) -> Path:
    image = Image.fromarray(np.zeros((48, 64, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(folder / "photo.jpg", exif=exif)
    return folder / "photo.jpg"


@pytest.mark.saw(
    "the advice for a mask of a turned photo was --fit-mask, which filled another place"
)
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_of_the_stored_pixels_is_turned_with_the_photo(
    orientation: int, tmp_path: Path
) -> None:
    photo = files.read(turned_photo(orientation, tmp_path)).images
    assert photo.size == (64, 48) and photo.orientation == orientation
    for fit in (False, True):
        reading = interpret(BITS, photo, fit=fit)
        upright = arrays.upright(HOLE, orientation)
        np.testing.assert_array_equal(reading.weights[0, 0], upright)
        assert "turned" in reading.doubts[0]
    np.testing.assert_array_equal(mask_tensor(upright, photo)[0, 0], upright)
    soft = painted((255, 0, 0, 255), (0, 0, 0, 0))
    np.testing.assert_array_equal(mask_tensor(soft, photo)[0, 0], upright)


@pytest.mark.saw("a mask of a photo that stands on its head filled the other side")
def test_where_a_turn_does_not_show_it_is_said(tmp_path: Path) -> None:
    photo = files.read(turned_photo(3, tmp_path)).images
    assert "taken as one of the turned image" in doubts(BITS, photo)
    own = Image.fromarray(BITS * 255)
    own.getexif()[0x0112] = 3
    assert doubts(own, photo) == ""
    np.testing.assert_array_equal(mask_tensor(own, photo)[0, 0], HOLE[::-1, ::-1])


def folder_of_images(folder: Path, **images: np.ndarray) -> Path:
    folder.mkdir()
    for name, array in images.items():
        Image.fromarray(array).save(folder / f"{name}.png")
    return folder


@pytest.mark.saw("a folder of masks was refused, and one mask served all images")
def test_each_image_of_a_folder_has_its_own_mask(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second, third = rng.integers(0, 256, (3, 48, 64, 3), np.uint8)
    folder_of_images(tmp_path / "in", a=first, b=second, c=third)
    folder_of_images(tmp_path / "masks", a=BITS, b_mask=BITS[::-1], d=BITS)
    words = ("inpaint", "in", "--mask", "masks", "--steps", "1", "-q", "-o", "out/")
    done = diffprior(*words, folder=tmp_path)
    said = done.stderr.decode()
    assert done.returncode == 1 and "Traceback" not in said
    assert "c.png" in said and "holds no image for it; name one c.png" in said
    assert "d.png belongs to no input" in said
    for name, before, hole in (("a", first, HOLE), ("b", second, HOLE[::-1])):
        after = np.asarray(Image.open(tmp_path / "out" / f"{name}.inpainted.png"))
        np.testing.assert_array_equal((after != before).any(-1), hole)
    assert not (tmp_path / "out" / "c.inpainted.png").exists()


@pytest.mark.saw("a folder of masks that cannot serve ended in a traceback")
def test_a_folder_of_masks_that_cannot_serve_is_refused(tmp_path: Path) -> None:
    Image.fromarray(0 * BITS).save(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    words = ("inpaint", "a.png", "--mask", "empty", "-q")
    done = diffprior(*words, folder=tmp_path)
    assert done.returncode == 2 and "empty: no image there" in complaint(done)
    folder = folder_of_images(tmp_path / "two", a=BITS)
    Image.fromarray(BITS).save(folder / "a.bmp")
    done = diffprior("inpaint", "a.png", "--mask", "two", "-q", folder=tmp_path)
    assert done.returncode == 1 and "holds a.bmp and a.png for it" in complaint(done)


@pytest.mark.saw("a mask on a background of 1 was told to hide the whole picture")
def test_a_mask_without_black_is_named_by_its_darkest_pixel(tmp_path: Path) -> None:
    from diffprior.errors import TaskError
    from diffprior.tasks.inpaint import inpaint

    gray = np.full((48, 64), 40, np.uint8)
    gray[HOLE] = 255
    gray[0, 0] = 90
    with warnings.catch_warnings(), pytest.raises(TaskError, match=r"its darkest is 15\.7% white"):
        warnings.simplefilter("ignore")
        inpaint(np.zeros((48, 64, 3), np.uint8), gray)
    with pytest.raises(TaskError, match="to draw one from nothing: generate"):
        inpaint(np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 255, np.uint8))
