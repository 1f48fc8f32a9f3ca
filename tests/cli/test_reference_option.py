"""``diffprior inpaint --reference``: files and folders, and never the photo itself."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import command
from support.command import Ended

Run = Callable[..., Ended]

SIDE = 160
Y, X = np.ogrid[:SIDE, :SIDE]
HOLE = (Y - 80) ** 2 + (X - 76) ** 2 < 26**2
HALVES = HOLE & (X < 76), HOLE & (X >= 76)


def city(row: int, column: int) -> np.ndarray:
    with Image.open(Path(__file__).parents[2] / "data/samples/city.png") as image:
        part = image.convert("RGB").crop((column, row, column + SIDE, row + SIDE))
        return np.asarray(part)


SCENE = city(200, 200)


@pytest.fixture
def inpaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """A function that runs ``diffprior inpaint --mask mask.png WORDS`` where there are shots.

    A red ball is before the scene in photo.png. Other shots are in shots/, of which each shows only
    one half of what the ball hides, and a photo of something else is there, too.
    """
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.where(HOLE[..., None], [200, 20, 20], SCENE).astype(np.uint8)).save(
        "photo.png"
    )
    Image.fromarray((HOLE * 255).astype(np.uint8)).save("mask.png")
    Path("shots").mkdir()
    for name, half, moved in zip(("a", "b"), HALVES, ((0, 0), (5, -9)), strict=True):
        shot = city(200 + moved[0], 200 + moved[1]).copy()
        wide = np.roll(half, (-moved[0], -moved[1]), (0, 1))
        shot[wide] = (20, 200, 20) if name == "a" else (20, 20, 200)
        Image.fromarray(shot).save(f"shots/{name}.png")
    with Image.open(Path(__file__).parents[2] / "data/samples/grass.png") as image:
        image.convert("RGB").crop((0, 0, SIDE, SIDE)).save("shots/grass.png")
    Image.fromarray(SCENE).save("clean.png")
    return lambda *words: command.run(
        monkeypatch, capsys, "inpaint", "--mask", "mask.png", *words, "--quiet"
    )


def right(path: str = "out.png") -> float:
    """The share of the lost pixels that are those of the scene."""
    with Image.open(path) as image:
        return float((np.asarray(image) == SCENE).all(2)[HOLE].mean())


def report(path: str = "out.png") -> dict[str, object]:
    with Image.open(path) as image:
        return json.loads(image.info["diffprior"])


def test_one_file(inpaint: Run) -> None:
    assert inpaint("photo.png", "--reference", "clean.png", "-o", "out.png").code == 0
    assert right() == 1
    assert report()["fill"] == "reference"


def test_several_files_and_the_one_that_shows_it_is_taken(inpaint: Run) -> None:
    words = ("--reference", "shots/grass.png", "--reference", "clean.png")
    assert inpaint("photo.png", *words, "-o", "out.png").code == 0
    assert right() == 1


def test_a_folder_is_all_images_in_it_but_the_photo_itself(inpaint: Run) -> None:
    """The photo shows the ball; it would fit best."""
    Image.open("photo.png").save("shots/photo.png")
    Image.open("clean.png").save("shots/clean.png")
    Image.open("photo.png").save("shots/photo.inpainted.png")  # as an earlier run leaves it
    assert inpaint("shots/photo.png", "--reference", "shots", "-o", "out.png").code == 0
    assert right() == 1


def test_a_photo_that_is_its_own_only_reference_has_none(inpaint: Run) -> None:
    ended = inpaint("photo.png", "--reference", "photo.png", "-o", "out.png")
    assert ended.code == 0
    assert "reference" not in report()
    assert report()["fill"] == "structure"


def test_a_reference_that_shows_nothing_is_said(inpaint: Run) -> None:
    ended = inpaint("photo.png", "--reference", "shots/grass.png", "-o", "out.png")
    assert ended.code == 0
    assert "the reference could not be fitted around the hole" in ended.said[-1]
    assert report()["reference"] == "not fitted"


@pytest.mark.parametrize(
    "words, said",
    [
        (("nope.png",), "nope.png"),
        (("",), "an empty name is no file"),
        (("empty",), "empty"),
        (("clean.png", "--reference", "nope.png"), "nope.png"),
        (("text.png",), "text.png"),
    ],
)
def test_what_is_no_image_is_one_sentence(inpaint: Run, words: tuple[str, ...], said: str) -> None:
    Path("empty").mkdir()
    Path("text.png").write_text("no image")
    ended = inpaint("photo.png", "--reference", *words, "-o", "out.png")
    assert ended.code == 2
    assert len(ended.said) == 1 and said in ended.said[0]
    assert not Path("out.png").exists()
