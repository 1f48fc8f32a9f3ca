"""``diffprior score``: its table, its other forms, and what it refuses."""

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import command
from support.command import Ended

ROOT = Path(__file__).parents[2]
QUICK = ("--prior", "fashion", "--levels", 3, "--windows", 1)

Run = Callable[..., Ended]


@pytest.fixture
def score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """A function that runs ``diffprior score WORDS`` in a folder of two shirts."""
    monkeypatch.chdir(tmp_path)
    shirts = np.load(ROOT / "data" / "fashion" / "pictures.npz")["x"]
    for k, name in enumerate("ab"):
        Image.fromarray(shirts[k]).save(f"{name}.png")
    return lambda *words: command.run(monkeypatch, capsys, "score", *words)


def test_a_row_for_each_file_and_the_mean(score: Run) -> None:
    ended = score(".", *QUICK)
    assert ended.code == 0 and not ended.said
    head, _, *rows, mean, _, note = ended.out.splitlines()
    assert [x.strip() for x in head.strip("|").split("|")] == [
        *("file", "bits per dimension", "standard error", "PNG", "WebP"),
    ]
    cells = [[x.strip() for x in row.strip("|").split("|")] for row in (*rows, mean)]
    assert [row[0] for row in cells] == ["a.png", "b.png", "mean"]
    bits = [float(row[1]) for row in cells]
    assert bits[2] == pytest.approx((bits[0] + bits[1]) / 2, abs=1e-3)
    assert all(2 < float(row[1]) < float(row[3]) for row in cells)  # below PNG
    assert note == "Measured on 2 parts of 28 x 28 pixels."


def test_json_and_csv_have_the_same_numbers(score: Run) -> None:
    """And an image has the numbers that it has alone."""
    lines = [
        json.loads(line) for line in score("a.png", "b.png", *QUICK, "--json").out.splitlines()
    ]
    assert [line["input"] for line in lines] == ["a.png", "b.png"]
    assert lines[0]["windows"] == [{"top": 0, "left": 0, "height": 28, "width": 28}]
    (row,) = csv.DictReader(StringIO(score("b.png", *QUICK, "--csv").out))
    assert row["file"] == "b.png" and row["bits per dimension"] == f"{lines[1]['bits']:.3f}"
    assert row["PNG"] == f"{lines[1]['png']:.3f}"
    (alone,) = map(json.loads, score("b.png", *QUICK, "--json", "--draws", 1).out.splitlines())
    assert alone["standard_error"] is None


def test_a_failed_file_does_not_stop_the_others(score: Run) -> None:
    Path("bad.png").write_bytes(b"no image")
    ended = score("bad.png", "gone.png", "a.png", *QUICK, "--csv")
    assert ended.code == 1 and len(ended.out.splitlines()) == 2
    assert [line.partition(":")[0] for line in ended.said] == ["bad.png", "gone.png"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--by", "guess"], "by of FitSettings is one of 'bound', 'flow', got 'guess'"),
        (["--prior", "nothing"], "nothing"),
        (["--prior", "photo", "--label", 3], "label=3 needs a class-conditional prior"),
        (["--json", "--csv"], "the result is --json or --csv, and not both"),
        (["--side", 2], "side of FitSettings is a whole number in"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_line(score: Run, words: list[object], complaint: str) -> None:
    ended = score("a.png", *words)
    assert ended.code == 2 and not ended.out
    (said,) = ended.said
    assert complaint in said
