"""``diffprior mask``: what it finds, what it writes, and what it refuses."""

import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from diffprior.io import files
from diffprior.io.masks import interpret, read_mask

from support import command, shell
from support.command import Ended
from support.images import TURNS

RNG = np.random.default_rng(0)
PHOTO = np.asarray(
    Image.fromarray(RNG.integers(60, 190, (12, 16, 3), np.uint8)).resize((96, 72), 3)
)
HOLE = np.zeros((72, 96), bool)
HOLE[20:40, 30:60] = True
PAINTED = np.where(HOLE[..., None], np.uint8([255, 0, 0]), PHOTO)

Run = Callable[..., Ended]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photo, and a copy that was painted over in red."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save("photo.png")
    Image.fromarray(PAINTED).save("painted.png")
    return tmp_path


@pytest.fixture
def mask(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs ``diffprior mask WORDS`` in that folder."""
    return lambda *words: command.run(monkeypatch, capsys, "mask", *words)


def read(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def test_a_mask_is_written_beside_the_photo_with_an_image_that_shows_it(mask: Run) -> None:
    ended = mask("color", "red", "painted.png", "--dilate", 0)
    assert ended.code == 0 and not ended.out
    assert ended.said == ["painted.png: 8.68% is marked; look at the mask, and correct it by hand"]
    assert sorted(os.listdir()) == [
        *("painted.mask.png", "painted.mask.shown.png", "painted.png", "photo.png"),
    ]
    assert np.array_equal(read("painted.mask.png"), 255 * HOLE.astype(np.uint8))
    shown = np.asarray(Image.open("painted.mask.shown.png")).astype(int)
    assert np.array_equal(shown[~HOLE], PAINTED[~HOLE])
    assert (shown[HOLE, 0] > shown[HOLE, 1:].max(1) + 100).all()


def test_what_is_there_is_kept(mask: Run) -> None:
    Path("painted.mask.png").write_bytes(b"mine")
    ended = mask("color", "red", "painted.png")
    assert ended.code == 1 and "painted.mask.png exists; use --force" in ended.said[0]
    assert mask("color", "red", "painted.png", "--skip-existing").code == 0
    assert Path("painted.mask.png").read_bytes() == b"mine"
    assert mask("color", "red", "painted.png", "--force").code == 0
    assert read("painted.mask.png").any()


def test_two_files_are_compared(mask: Run) -> None:
    assert mask("difference", "photo.png", "painted.png", "-o", "m.png", "--no-show").code == 0
    assert np.array_equal(read("m.png") > 0, HOLE) and not Path("m.shown.png").exists()
    ended = mask("difference", "photo.png", "photo.png")
    assert ended.code == 0 and "nothing was found, and the mask is black" in ended.said[0]
    assert not read("photo.mask.png").any()


def test_what_is_wrong_is_one_sentence(mask: Run) -> None:
    small = Image.fromarray(PHOTO[:60])
    small.save("small.png")
    Path("broken.png").write_bytes(b"no image")
    wrong = {
        ("difference", "photo.png", "small.png"): (1, "the images differ in size, 96x72 and 96x60"),
        ("difference", "photo.png", "none.png"): (1, "none.png: it cannot be read"),
        ("color", "rot", "painted.png"): (2, "'rot' is no color; give a name such as red"),
        ("color", "lime", "painted.png"): (1, "painted.png: the image has no pixel that is lime"),
        ("color", "red"): (2, "Missing argument 'FILE"),
        ("color", "red", "painted.png", "--tolerance", "2"): (2, "Invalid value for '--tolerance'"),
        ("text", "painted.png", "--sensitivity", "-1"): (2, "Invalid value for '--sensitivity'"),
        ("scratches", "broken.png"): (1, "broken.png: "),
        ("scratches", "photo.png", "-o", "m.jpg"): (2, "m.jpg is no file of this kind (.png, "),
        ("scratches", "photo.png", "small.png", "-o", "m.png"): (2, "several images need a folder"),
        ("dust", "photo.png"): (2, "No such command 'dust'"),
    }
    for words, (code, sentence) in wrong.items():
        ended = mask(*words)
        assert ended.code == code and len(ended.said) == 1, (words, ended)
        assert sentence in ended.said[0], (words, ended)
    assert not list(Path().glob("*mask*"))


def test_a_failed_file_leaves_the_others_alone(mask: Run) -> None:
    Path("broken.png").write_bytes(b"no image")
    ended = mask("color", "red", "broken.png", "photo.png", "painted.png", "-o", "masks/")
    assert ended.code == 1 and len(ended.said) == 3
    assert sorted(os.listdir("masks")) == ["painted.mask.png", "painted.mask.shown.png"]


def test_masks_of_a_folder_are_no_photos_of_it(mask: Run) -> None:
    assert mask("scratches", ".").code == 0
    again = mask("scratches", ".", "--skip-existing")
    assert again.code == 0 and "is done already" in again.said[0] and len(again.said) == 2
    assert len(os.listdir()) == 6


def test_each_file_is_a_line_of_json(mask: Run) -> None:
    ended = mask("color", "#f00", "painted.png", "--json", "--dilate", 0)
    line = json.loads(ended.out)
    assert line["input"] == "painted.png" and line["share"] == pytest.approx(HOLE.mean())
    assert line["outputs"] == {"0": "painted.mask.png", "shown": "painted.mask.shown.png"}


@pytest.mark.parametrize("kind", ["gray", "16 bit", "RGBA", "palette", "TIFF"])
def test_files_of_all_kinds(mask: Run, kind: str) -> None:
    """Lossless files, so that the mask is that of the pixels that differ."""

    def save(values: np.ndarray, name: str) -> None:
        image = Image.fromarray(values)
        if kind == "gray":
            image.convert("L").save(name)
        elif kind == "palette":
            image.quantize(64).save(name)
        elif kind == "TIFF":
            Path(name).write_bytes(files.encode(np.float32(values) / 255, None, ".tif"))
        elif kind == "16 bit":
            Path(name).write_bytes(files.encode(values.astype(np.uint16) * 257, None, ".png"))
        else:
            image.putalpha(Image.fromarray(np.full(HOLE.shape, 200, np.uint8)))
            image.save(name)

    suffix = "tif" if kind == "TIFF" else "png"
    save(PHOTO, f"a.{suffix}")
    save(PAINTED, f"b.{suffix}")
    ended = mask("difference", f"a.{suffix}", f"b.{suffix}", "-o", "m.png")
    found = read("m.png") > 0
    assert ended.code == 0 and found[HOLE].mean() > 0.95
    assert kind == "palette" or np.array_equal(found, HOLE)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_photo_gets_a_mask_that_is_upright(mask: Run, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PAINTED).save("turned.jpg", exif=exif, quality=95, subsampling=0)
    assert mask("color", "red", "turned.jpg", "--dilate", 0).code == 0
    found, truth = read("turned.mask.png") > 0, TURNS[orientation](HOLE)
    assert found.shape == truth.shape and (found != truth).mean() < 0.01
    photo = files.read(Path("turned.jpg")).images
    reading = interpret(read_mask(Path("turned.mask.png")), photo)
    assert np.array_equal(reading.weights[0, 0] > 0, found)
    assert bool(reading.doubts) is (orientation == 3)  # where the size does not tell


def test_a_mask_goes_from_the_command_into_a_fill(place: Path) -> None:
    done = shell.diffprior("mask", "color", "red", "painted.png", "-o", "masks/", folder=place)
    assert done.returncode == 0, done.stderr
    words = ("--mask", "masks", "--method", "dpir(start=0.2)", "--steps", "1", "-o", "filled.png")
    done = shell.diffprior("inpaint", "painted.png", *words, folder=place)
    assert done.returncode == 0 and not done.stderr, done.stderr
    kept = read("masks/painted.mask.png") == 0
    filled = np.asarray(Image.open("filled.png"))
    assert np.array_equal(filled[kept], PAINTED[kept])
    assert (filled[HOLE, 0] < 220).all()  # no red is left


def test_the_mask_goes_through_a_pipe(place: Path) -> None:
    done = shell.diffprior("mask", "color", "red", "painted.png", "-o", "-", folder=place)
    assert done.returncode == 0
    found = np.asarray(Image.open(BytesIO(done.stdout)))
    assert found[HOLE].min() == 255 and found[0].max() == 0
    assert sorted(os.listdir()) == ["painted.png", "photo.png"]


def test_scratches_are_found_from_the_command(mask: Run) -> None:
    image = Image.fromarray(PHOTO)
    ImageDraw.Draw(image).line([(5, 60), (90, 12)], fill=(255, 255, 255), width=2)
    image.save("scratched.png")
    assert mask("scratches", "scratched.png").code == 0
    found, truth = read("scratched.mask.png") > 0, (np.asarray(image) == 255).all(-1)
    assert (found & truth).sum() > 0.9 * truth.sum() and found.sum() < 4 * truth.sum()
