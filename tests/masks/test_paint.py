"""What a person painted over in one color is found again."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from diffprior.errors import ImageError, SettingError
from diffprior.masks import color
from diffprior.operators.generators.masks import strokes

SAMPLES = sorted((Path(__file__).parents[2] / "data" / "samples").glob("*.png"))
REDS = {"css": (255, 0, 0), "Paint": (237, 28, 36), "iOS": (255, 59, 48), "Android": (244, 67, 54)}


def painted(name: str, paint: tuple[int, ...], seed: int = 0) -> tuple[Image.Image, np.ndarray]:
    """Return a sample of 288 px with strokes of a paint, and where they are."""
    photo = Image.open(next(f for f in SAMPLES if f.stem == name)).convert("RGB").resize((288, 288))
    where = strokes(288, 288, seed, 0.1)[0].numpy()
    photo.paste(paint, mask=Image.fromarray(where))
    return photo, where


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.mark.parametrize("name", ["baby", "city", "flowers", "haze"])
def test_paint_in_a_lossless_file_is_found_exactly(name: str) -> None:
    image, where = painted(name, (255, 0, 255))
    assert np.array_equal(color(image, "magenta", dilate=0), where)
    assert np.array_equal(color(image, "#f0f", 0, dilate=0), where)
    disc = np.hypot(*np.ogrid[-3:4, -3:4]) <= 3
    assert np.array_equal(color(image, "magenta"), ndimage.binary_dilation(where, disc))


@pytest.mark.parametrize("program", REDS)
def test_the_word_red_means_the_red_of_any_program(program: str) -> None:
    image, where = painted("mc1", REDS[program])
    assert np.array_equal(color(image, dilate=0), where)


def test_a_code_is_that_color_and_no_other() -> None:
    image, where = painted("mc1", REDS["Paint"])
    assert np.array_equal(color(image, "#ed1c24", 0, dilate=0), where)
    with pytest.raises(ImageError, match=r"no pixel that is #ff0000 .* the nearest one is #ed1c24"):
        color(image, "#ff0000")


@pytest.mark.parametrize(("quality", "recall"), [(90, 0.999), (75, 0.995)])
def test_paint_in_a_jpeg_is_found_to_its_rim(quality: int, recall: float) -> None:
    for seed, name in enumerate(("city", "flowers", "guitar")):
        image, where = painted(name, REDS["css"], seed)
        mask = color(as_jpeg(image, quality), "red")
        near = ndimage.binary_dilation(where, iterations=4)
        assert (mask & where).sum() >= recall * where.sum(), name
        assert (mask & near).sum() >= 0.98 * mask.sum(), name


def test_the_tolerance_is_a_distance_in_lab() -> None:
    """Half of the way from black to white is a gray with the lightness 50."""
    grays = np.array([[0, 118, 119, 255]], np.uint8)
    assert color(grays, "black", 0.4999, dilate=0).tolist() == [[True, True, False, False]]
    assert color(grays, "white", 0.5, dilate=0).tolist() == [[False, False, True, True]]


def test_the_mask_has_the_kind_of_the_image() -> None:
    image, where = painted("dog", (0, 255, 0))
    x = torch.from_numpy(np.array(image)).movedim(-1, 0)
    deep = np.asarray(image).astype(np.uint16) * 257
    clear = np.dstack([np.asarray(image), np.full(where.shape, 255, np.uint8)])
    clear[:144, :, 3] = 0
    found = color(torch.stack([x, x.flip(-1)]) / 255, "lime", dilate=0)
    assert found.shape == (2, 1, 288, 288) and found.dtype == torch.bool
    assert np.array_equal(found[0, 0], where) and np.array_equal(found[1, 0], where[:, ::-1])
    assert np.array_equal(color(x, "lime", dilate=0)[0], where)
    assert np.array_equal(color(deep, "lime", dilate=0), where)
    assert not color(clear, "lime", dilate=0)[:144].any()  # nobody sees the paint there
    assert np.array_equal(color(clear, "lime", dilate=0)[144:], where[144:])


def test_pixels_of_the_photo_beside_large_paint_are_left_out() -> None:
    image = np.full((100, 100, 3), 90, np.uint8)
    image[10:50, 10:50] = 255, 0, 0
    image[70, 70] = image[80:82, 80:82] = 255, 0, 0
    mask = color(image, dilate=0)
    assert mask.sum() == 1600 and not mask[60:].any()
    image[10:50] = 90
    assert color(image, dilate=0).sum() == 5  # where they are all there is, they are meant


@pytest.mark.parametrize("word", ["rouge", "", "#ff00", "#12345", "red,blue", "rgb(1,2)"])
def test_what_is_no_color_is_named(word: str) -> None:
    with pytest.raises(SettingError, match="is no color; give a name such as red"):
        color(np.zeros((4, 4), np.uint8), word)


def test_settings_are_checked() -> None:
    gray = np.zeros((4, 4), np.uint8)
    with pytest.raises(SettingError, match=r"tolerance is a number in \[0, 1\], got 2"):
        color(gray, "black", 2)
    with pytest.raises(SettingError, match="dilate is a whole number"):
        color(gray, "black", dilate=-1)
    with pytest.raises(ImageError, match="no pixel that is red"):
        color(gray)


def test_a_tolerance_of_zero_tells_neighboring_levels_apart() -> None:
    near = [[255, 0, 0], [254, 0, 0], [255, 1, 0], [255, 0, 1]]
    assert color(np.array([near], np.uint8), "#f00", 0, dilate=0).tolist() == [[True] + 3 * [False]]
