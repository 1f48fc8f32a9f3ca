"""Masks as people have them: of other values than 255, painted, lossy, turned, one for each."""

import io
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from diffprior.classical.fill import biharmonic
from diffprior.cli.masks import ImageFolder
from diffprior.errors import SettingError
from diffprior.io import arrays, files
from diffprior.io.arrays import ImageError, as_images
from diffprior.io.masks import MaskReading, interpret, mask_tensor, read_mask
from diffprior.metrics import psnr
from diffprior.operators.generators.masks import draw
from diffprior.runtime.masks import given_mask, soft_mask

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


def inverted(hole: np.ndarray, **settings: Any) -> str:
    return "; ".join(interpret(hole, PHOTO, **settings).doubts)


@pytest.mark.saw("a mask with black and white swapped erased the photo and kept the scratch")
@pytest.mark.parametrize("kept", ["an object", "an object at the border", "scratches", "a third"])
def test_a_mask_that_may_be_inverted_is_noticed(kept: str) -> None:
    known = {
        "an object": HOLE,
        "an object at the border": np.roll(HOLE, -10, 0),
        "scratches": np.arange(48)[:, None] - np.arange(64)[None] == 8,
        "a third": np.pad(np.ones((30, 40), bool), ((9, 9), (12, 12))),
    }[kept]
    share = (~known).mean()
    if kept == "scratches":  # a line of one pixel has no neighbors but those at its corners
        known = known | np.roll(known, 1, 1)
        share = (~known).mean()
    said = inverted(~known)
    assert f"hides {share:.0%}" in said or f"hides {share:.2%}" in said
    assert said.endswith("is what to fill, use --invert-mask")
    assert inverted(known) == inverted(~known, invert=True) == ""
    assert inverted(known, invert=True) == ""  # as the call says


@pytest.mark.saw("every scattered or half mask was said to be inverted")
@pytest.mark.parametrize("lost", [0.65, 0.8, 0.95])
def test_masks_that_are_no_inverted_ones_are_left_in_peace(lost: float) -> None:
    scattered = np.random.default_rng(0).random((48, 64)) < lost
    grid = np.ones((48, 64), bool)
    grid[::2, ::2] = False
    half = np.zeros((48, 64), bool)
    half[:, 10:] = True  # all but the left border
    small = np.zeros((48, 64), bool)
    small[:, :12] = small[:23] = True  # 58%, at all borders
    for mask in (scattered, grid, half, small):
        assert inverted(mask) == ""


@pytest.mark.saw("a mask with black and white swapped had to be made again")
def test_an_inverted_mask_is_the_mask_that_was_meant(tmp_path: Path) -> None:
    from diffprior.tasks.inpaint import inpaint

    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    right = inpaint(photo, HOLE, steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        turned = inpaint(photo, ~HOLE, invert_mask=True, steps=1)
    assert np.array_equal(right.image, turned.image)
    assert turned.report["mask"] == "inverted" and "mask" not in right.report
    with pytest.warns(UserWarning, match="use --invert-mask"):  # the run goes on
        assert not (inpaint(photo, ~HOLE, steps=1).image != photo)[HOLE].any()
    small = np.repeat(np.repeat(HOLE, 2, 0), 2, 1)
    fitted = inpaint(photo, ~small, invert_mask=True, fit_mask=True, steps=1)
    assert np.array_equal(fitted.image, right.image)
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(~HOLE).save(tmp_path / "m.png")
    words = ("inpaint", "--mask", "m.png", "--invert-mask", "a.png", "--steps", "1", "-o", "b.png")
    done = diffprior(*words, folder=tmp_path)
    assert done.returncode == 0 and done.stderr == b""
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), right.image)


@pytest.mark.parametrize("task", ["inpaint", "blend", "sdedit", "colorize", "restore"])
@pytest.mark.saw("--invert-mask without a mask was passed over in silence")
def test_settings_of_a_mask_without_one_are_refused(task: str) -> None:
    import diffprior as library

    photo = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(SettingError, match="invert_mask is about a mask, and none is given"):
        getattr(library, task)(photo, invert_mask=True)
    with pytest.raises(SettingError, match="mask_color is about a mask .* this one is auto"):
        library.edit(photo, "auto", mask_color="red")
    with pytest.raises(SettingError, match="there is no mask; give one, or the mask_color"):
        library.blend(photo)


FOLDERS: dict[str, tuple[str, list[str], str]] = {  # the image, what is in the folder, its mask
    "the stem": ("a.jpg", ["a.png", "b.png"], "a.png"),
    "_mask": ("a.jpg", ["a_mask.png", "b_mask.png"], "a_mask.png"),
    "-mask": ("a.jpg", ["a-mask.tif"], "a-mask.tif"),
    "as the command mask writes it": ("a.jpg", ["a.mask.png"], "a.mask.png"),
    "the whole name": ("a.jpg", ["a.jpg.mask.png", "a.png.mask.png"], "a.jpg.mask.png"),
    "the whole name alone": ("a.jpg", ["a.jpg.png"], "a.jpg.png"),
    "uppercase photo": ("IMG_1.JPG", ["img_1.png", "img_2.png"], "img_1.png"),
    "uppercase mask": ("img_1.jpg", ["IMG_1_MASK.PNG"], "IMG_1_MASK.PNG"),
    "case tells two apart": ("A.jpg", ["A.png", "a.png"], "A.png"),
    "dots in the name": ("a.v2.jpg", ["a.png", "a.v2.png"], "a.v2.png"),
    "an accent in two parts": ("caf\u00e9.jpg", ["cafe\u0301.png"], "cafe\u0301.png"),
    "photo and mask in one folder": ("a.png", ["a.png", "a_mask.png"], "a_mask.png"),
    "a photo of the same name": ("a.jpg", ["a.jpg", "a.png", "a_mask.png"], "a_mask.png"),
    "two formats": ("a.jpg", ["a.bmp", "a.png"], "holds a.bmp and a.png for it; leave one"),
    "two endings": ("a.jpg", ["a.mask.png", "a_mask.png"], "holds a.mask.png and a_mask.png for"),
    "none": ("a.jpg", ["ab.png", "a_mask2.png"], "holds no image for it; name one a.png"),
    "itself alone": ("a.png", ["a.png"], "holds no image for it; name one a.png"),
}


@pytest.mark.saw("the mask of a photo was not found in a folder by the name that a person gave it")
@pytest.mark.parametrize("case", FOLDERS)
def test_a_mask_in_a_folder_is_found_by_its_name(case: str, tmp_path: Path) -> None:
    photo, names, expected = FOLDERS[case]
    for name in names:
        (tmp_path / name).touch()
    if case == "case tells two apart" and len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system does not tell them apart")
    folder = ImageFolder.of(tmp_path)
    if expected.startswith("holds"):
        with pytest.raises(ImageError, match=expected):
            folder.path_for(tmp_path / photo)
    else:
        assert folder.path_for(tmp_path / photo).name == expected


@pytest.mark.saw("masks that lay beside the photos were filled as if they were photos")
def test_photos_and_masks_may_lie_in_one_folder(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    folder_of_images(tmp_path / "in", a=photo, b=photo, **{"a.mask": BITS, "b_mask": BITS[::-1]})
    words = ("inpaint", "in", "--mask", "in", "--steps", "1", "-q", "-o", "out/")
    done = diffprior(*words, folder=tmp_path)
    assert done.returncode == 0 and done.stderr == b""
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.inpainted.png", "b.inpainted.png"]
    for name, hole in zip(names, (HOLE, HOLE[::-1]), strict=True):
        after = np.asarray(Image.open(tmp_path / "out" / name))
        np.testing.assert_array_equal((after != photo).any(-1), hole)


def scene() -> Image.Image:
    with Image.open(Path(__file__).parents[2] / "data/samples/city.png") as image:
        return image.convert("RGB").crop((0, 0, 128, 96))


STROKE = np.zeros((96, 128), bool)
STROKE[30:50, 40:90] = True


def brushed(color: tuple[int, int, int], image: Image.Image) -> Image.Image:
    out = image.copy()
    out.paste(color, mask=Image.fromarray(STROKE))
    return out


def grown(pixels: int) -> np.ndarray:
    away = cv2.distanceTransform((~STROKE).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= pixels)


@pytest.mark.saw("a photo that was painted over in red was refused as a mask of several colors")
def test_paint_on_a_copy_is_the_mask() -> None:
    import diffprior as library

    photo = np.asarray(scene())
    mask = brushed((255, 0, 0), scene())
    with pytest.raises(ImageError, match="painted over, give the color with --mask-color"):
        library.inpaint(photo, mask, steps=1)
    done = library.inpaint(photo, mask, mask_color="red", steps=1, fill="smooth")
    expected = library.inpaint(photo, grown(3), steps=1, fill="smooth")
    assert np.array_equal(done.image, expected.image)
    assert done.report["mask"] == "what is painted in red"
    inverse = library.sdedit(photo, mask, mask_color="red", invert_mask=True, steps=1)
    assert np.array_equal((np.asarray(inverse.cover)[0, 0] == 0), grown(3))
    assert inverse.report["mask"] == "what is painted in red; inverted"


@pytest.mark.saw("paint on the photo itself could not be filled without a second file")
@pytest.mark.parametrize("task", ["inpaint", "blend", "restore", "sdedit", "colorize"])
def test_paint_on_the_image_itself_is_the_mask(task: str) -> None:
    import diffprior as library

    painted = brushed((255, 0, 255), scene())
    done = getattr(library, task)(painted, mask_color="#ff00ff", steps=1)
    if task != "restore":  # which estimates all pixels anew
        changed = (np.asarray(done.image) != np.asarray(painted)).any(-1)
        assert changed[STROKE].mean() > 0.9 and not (changed & ~grown(3)).any()
        assert np.array_equal(np.asarray(done.cover)[0, 0] > 0, grown(3))
    if task in ("inpaint", "restore"):
        magenta = np.abs(np.asarray(done.image).astype(int) - (255, 0, 255)).max(-1) < 60
        assert not magenta.any()


@pytest.mark.saw("a rim of the paint was left in a JPEG, and the fill took its color")
@pytest.mark.parametrize("quality", [95, 75, 40])
@pytest.mark.parametrize("color", [(255, 0, 0), (237, 28, 36), (0, 0, 255)])
def test_paint_in_a_jpeg_is_covered_with_its_rim(color: tuple[int, int, int], quality: int) -> None:
    word = "blue" if color[2] == 255 else "red"
    paint, before = (
        compressed(np.asarray(image), quality=quality)
        for image in (brushed(color, scene()), scene())
    )
    given = given_mask(paint, None, mask_color=word, invert_mask=False)
    found = soft_mask(given, as_images(paint)).weights[0, 0].numpy() > 0
    assert found[STROKE].all() and not (found & ~grown(12)).any()
    given = given_mask(None, paint, mask_color=word, invert_mask=False)
    found = soft_mask(given, as_images(paint)).weights[0, 0].numpy() > 0
    tint = np.abs(np.asarray(paint).astype(int) - np.asarray(before)).max(-1)
    assert found[STROKE].all() and not (found & ~grown(14)).any()
    assert tint[~found].max() <= 60 and np.quantile(tint[grown(16) & ~found], 0.9) <= 15


@pytest.mark.saw("a color that nobody painted in was an empty mask, and nothing happened")
def test_a_color_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    scene().save(tmp_path / "a.png")
    brushed((255, 0, 255), scene()).save(tmp_path / "painted.png")
    words = ("inpaint", "--mask", "painted.png", "--mask-color", "#00ff00", "a.png", "-q")
    done = diffprior(*words, folder=tmp_path)
    assert done.returncode == 1
    assert "no pixel that is #00ff00" in complaint(done) and "nearest one is #" in complaint(done)
    done = diffprior("inpaint", "--mask-color", "magnta", "a.png", "-q", folder=tmp_path)
    assert done.returncode == 2 and "magnta" in complaint(done)
