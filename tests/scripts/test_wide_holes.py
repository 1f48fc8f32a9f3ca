"""The benchmark of wide holes: its holes, its numbers, its verdicts, and the programs it runs."""

import csv
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "data" / "samples"
OBJECTS = ROOT / "data" / "masks" / "objects"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "tables"))
    names = ("holes", "fills", "wide_holes")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def case(scripts: SimpleNamespace, group: str = "blobs", side: int = 64):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (side, side, 3), np.uint8)
    hole = np.zeros((side, side), np.bool_)
    hole[20:44, 22:40] = True
    return scripts.holes.Case(group=group, name="a", image=image, hole=hole)


def test_every_sample_mask_belongs_to_an_image_of_its_size(scripts: SimpleNamespace) -> None:
    found = scripts.holes.object_cases(sorted(SAMPLES.glob("*.png")), OBJECTS)
    assert [case.name for case in found] == sorted(path.stem for path in OBJECTS.glob("*.png"))
    assert len(found) == 10
    for case in found:
        assert case.hole.shape == case.image.shape[:2]
        assert 0.002 < case.hole.mean() < 0.1 and not case.has_truth


def test_a_hole_that_moved_has_the_same_shape_and_keeps_off_the_object(
    scripts: SimpleNamespace,
) -> None:
    for case in scripts.holes.object_cases(sorted(SAMPLES.glob("*.png")), OBJECTS):
        moved = scripts.holes.moved(case)
        assert moved.has_truth and moved.hole.sum() == case.hole.sum()
        near = np.zeros_like(case.hole)
        for dy in (-8, 0, 8):
            for dx in (-8, 0, 8):
                near |= np.roll(moved.hole, (dy, dx), (0, 1))
        assert not (near & case.hole).any()


def test_an_object_that_fills_its_image_has_no_other_place(scripts: SimpleNamespace) -> None:
    wide = case(scripts)
    wide.hole[4:60, 4:60] = True
    assert scripts.holes.moved(wide) is None


def test_blobs_are_crops_of_the_images_and_those_of_their_seed(scripts: SimpleNamespace) -> None:
    path = SAMPLES / "mc1.png"
    first, again, other = (next(scripts.holes.blob_cases(path, seed)) for seed in (3, 3, 4))
    assert first.image.shape == (384, 384, 3) and 70 < 2 * (first.hole.sum() / np.pi) ** 0.5 < 130
    assert np.array_equal(first.image, again.image) and np.array_equal(first.hole, again.hole)
    assert not np.array_equal(first.image, other.image)
    whole = np.asarray(Image.open(path).convert("RGB"))
    places = np.argwhere((whole == first.image[0, 0]).all(-1))
    assert any(np.array_equal(whole[y : y + 384, x : x + 384], first.image) for y, x in places)


def test_no_blob_for_a_small_image(scripts: SimpleNamespace, tmp_path: Path) -> None:
    Image.new("RGB", (249, 400)).save(tmp_path / "small.png")
    assert not list(scripts.holes.blob_cases(tmp_path / "small.png", 0))


def test_the_scores_of_the_truth_are_those_of_no_difference(scripts: SimpleNamespace) -> None:
    whole = case(scripts)
    row = scripts.wide_holes.score(whole, whole.image)
    assert (row["patches"], row["seam"], row["hole_psnr"]) == (0, 0, "n/a")
    assert row["texture"] == pytest.approx(1) and 0 < row["around"] < 10
    outside = np.where(whole.hole[..., None], whole.image, 255 - whole.image)
    assert scripts.wide_holes.score(whole, outside) == row  # only the hole counts
    assert set(scripts.wide_holes.score(case(scripts, "objects"), whole.image)) == {
        "around",
        "seam",
    }


def rows(ours: tuple[float, ...], gmic: tuple[float, ...], shiftmap: tuple[float, ...]) -> list:
    """Return rows of patch distances, the other scores being those that meet the demands."""
    found = []
    for method, numbers in (("default", ours), ("gmic", gmic), ("shiftmap", shiftmap)):
        for i, number in enumerate(numbers):
            scores = {"patches": number, "seam": 0.1, "texture": 1.0, "hole_psnr": 20.0}
            found.append({"group": "blobs", "name": str(i), "method": method} | scores)
    return found


def test_the_demands_are_those_on_means_and_on_shares(scripts: SimpleNamespace) -> None:
    bars = scripts.wide_holes.bars
    met = bars(rows((0.7, 0.7, 0.9), (1.0, 1.0, 1.0), (2.0, 0.8, 2.0)))
    assert [bar.met for bar in met] == [True, True, True, True, True]
    assert str(met[0]) == (
        "bar: patch distance at least 20% under the better of gmic and shiftmap: "
        "measured 0.77, -23% of 1.00 (gmic): met"
    )
    lost = bars(rows((0.7, 0.7, 0.95), (1.0, 1.0, 0.9), (0.6, 1.1, 1.3)))
    assert [bar.met for bar in lost][:2] == [False, False]
    assert "1 of 3: not met" in str(lost[1])


def test_images_that_a_peer_has_not_filled_do_not_count(scripts: SimpleNamespace) -> None:
    partial = rows((0.7, 9.0), (1.0,), (1.0, 1.0))
    assert "measured 1 of 1: met" in str(scripts.wide_holes.bars(partial)[1])
    assert scripts.wide_holes.bars(rows((0.7,), (), (1.0,))) == []


def test_a_child_gets_no_truth(scripts: SimpleNamespace, tmp_path: Path) -> None:
    whole = case(scripts)
    cost = scripts.fills.Filler(tmp_path, sys.executable).fill(whole, "telea")
    given = np.asarray(Image.open(tmp_path / "cases" / "blobs" / "a.png"))
    assert (given[whole.hole] == 128).all()
    assert np.array_equal(given[~whole.hole], whole.image[~whole.hole])
    filled = np.asarray(Image.open(tmp_path / "fills" / "blobs" / "a.telea.png"))
    assert np.array_equal(filled[~whole.hole], whole.image[~whole.hole])
    assert (filled[whole.hole] != 128).any()
    assert 0.01 < cost.seconds < 20 and 20 < cost.megabytes < 400


def test_a_program_that_is_missing_is_one_line(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(scripts.fills, "which", lambda name: None)
    filler = scripts.fills.Filler(tmp_path, str(tmp_path / "no-python"))
    for _ in range(2):
        for method in ("gmic", "shiftmap"):
            assert filler.fill(case(scripts), method) is None
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0] == "gmic: n/a: there is no program gmic (Debian package gmic)"
    assert lines[1].startswith("shiftmap: n/a: ") and "No such file" in lines[1]


def test_a_fill_that_takes_too_long_is_left_out(scripts: SimpleNamespace, tmp_path: Path) -> None:
    cost, said = scripts.fills.watch([sys.executable, "-c", "import time; time.sleep(60)"], 0.5)
    assert said == "it took more than 0 s" and 0.5 <= cost.seconds < 5


def test_the_memory_is_that_of_the_process(scripts: SimpleNamespace) -> None:
    code = "x = bytearray(300 * 10**6); x[::4096] = b'1' * len(x[::4096])"
    cost, said = scripts.fills.watch([sys.executable, "-c", code], 30)
    assert said == "" and 300 < cost.megabytes < 340


def test_a_stopped_run_goes_on_and_a_method_runs_anew(
    scripts: SimpleNamespace, tmp_path: Path, capsys
) -> None:
    (tmp_path / "objects").mkdir()
    mask = np.zeros((64, 72), np.uint8)
    mask[8:24, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "objects" / "a_thing.png")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 72, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")

    def new_rows(*methods: str, again: str | None = None) -> int:
        scripts.wide_holes.measure_holes(
            [str(tmp_path / "a.png")],
            tmp_path / "out",
            tmp_path / "objects",
            method=list(methods),
            again=[again] if again else None,
        )
        said = capsys.readouterr().out
        assert "| telea " in said
        return said.count("moved, a_thing")

    assert new_rows("telea") == 1
    assert new_rows("telea", "navier-stokes") == 1
    assert new_rows("telea", again="telea") == 1
    with (tmp_path / "out" / "rows.csv").open(newline="") as file:
        found = [(row["group"], row["method"]) for row in csv.DictReader(file)]
    assert len(found) == len(set(found)) == 6
