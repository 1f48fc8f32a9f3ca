"""Runs over many files: what is refused before any work, and what one bad file leaves alone."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.cli.batch import Options, run
from diffprior.likelihoods.gaussian import GaussianLikelihood

from support.shell import texts

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)


def command(*arguments, folder, shell=""):
    """Run the command line; return its code, standard output and standard error."""
    if shell:
        call = [sys.executable, "-m", "diffprior", *map(str, arguments)]
        call = ["sh", "-c", f'"$0" "$@" {shell}', *call]
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=300)
    else:
        done = texts(*arguments, folder=folder)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def denoise(*names, sigma="0.1", samples=1, **options):
    """Run a task as the command line does, here."""
    settings = {"sigma": sigma, "samples": samples, "steps": 1, "method": "dpir(start=0.2)"}
    return run(diffprior.denoise, names, settings, Options(quiet=True, **options))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a small image, and the place that commands run at."""
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys):
    return capsys.readouterr().err.strip().splitlines()


def test_two_results_are_not_one_file(place, capsys):
    Image.fromarray(IMAGE).save("a.bmp")
    assert denoise("a.png", "a.bmp", output="out/", force=True) == 0
    assert not said(capsys)
    assert sorted(os.listdir("out")) == ["a.bmp.denoised.png", "a.png.denoised.png"]


def test_one_file_by_two_names_is_one(place, capsys):
    assert denoise("a.png", str(place / "a.png"), "./a.png", output="out/") == 0
    assert os.listdir("out") == ["a.denoised.png"] and not said(capsys)


def test_names_that_match_nothing_leave_the_others_alone(place, capsys):
    (place / "empty").mkdir()
    assert denoise("zz*.png", "a.png", "empty", "", output="out/") == 1
    lines = said(capsys)
    assert len(lines) == 3 and "zz*.png" in lines[0] and "empty:" in lines[1]
    assert "an empty name is no image" in lines[2]
    assert os.listdir("out") == ["a.denoised.png"]


def test_a_file_called_minus_is_a_file(place, capsys):
    Image.fromarray(IMAGE).save("-", "PNG")
    assert denoise("./-", output="out/") == 0
    assert os.listdir("out") == ["-.denoised.png"]


NOWHERE = {
    "no folder": ("missing/sub/o.png", 1, "missing/sub is no folder that can be written to"),
    "a file": ("file.txt/x.png", 1, "file.txt is no folder"),
    "a folder": ("file.txt/", 1, "the folder file.txt cannot be made"),
    "empty": ("", 2, "the output has an empty name"),
}


@pytest.mark.parametrize("case", NOWHERE)
def test_a_place_is_refused_before_any_work(place, capsys, monkeypatch, case):
    output, code, expected = NOWHERE[case]
    (place / "file.txt").touch()
    monkeypatch.setattr("diffprior.io.files.read", lambda *_: pytest.fail("it was read"))
    assert denoise("a.png", output=output) == code
    (line,) = said(capsys)
    assert expected in line


@pytest.mark.parametrize("suffix", [".jpg", ".gif"])
def test_a_depth_is_refused_before_any_work(place, capsys, suffix):
    Image.fromarray(np.zeros((16, 20), np.uint16)).save("deep.png")
    settings = {"to": IMAGE, "prior": "nothing"}  # which is refused once it is asked
    options = Options(quiet=True, output=f"o{suffix}")
    assert run(diffprior.interpolate, ["deep.png"], settings, options) == 1
    (line,) = said(capsys)
    assert f"uint16 values do not fit into {suffix}" in line


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_json_has_null_for_what_is_not_finite(place, capsys, monkeypatch, value):
    def refuse(word):
        pytest.fail(word)

    chi2 = f"{GaussianLikelihood.__module__}.GaussianLikelihood.chi2"
    monkeypatch.setattr(chi2, lambda self, x: torch.full((len(x),), value))
    assert denoise("a.png", json=True) == 0
    note = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert note["chi2"][0] is None and note["input"] == "a.png"
    with Image.open("a.denoised.png") as image:
        assert json.loads(image.text["diffprior"], parse_constant=refuse)["chi2"][0] is None


def test_what_is_warned_of_names_the_file(place):
    Image.fromarray(IMAGE).save("b.png")
    with pytest.warns(UserWarning) as heard:
        assert denoise("a.png", "b.png", sigma="0.9") == 0
    assert [str(w.message).split(":")[0] for w in heard] == ["a.png", "b.png"]


def test_a_sample_knows_its_number(place):
    assert denoise("a.png", samples=2) == 0
    for k in (1, 2):
        with Image.open(f"a.denoised-{k}.png") as image:
            assert json.loads(image.text["diffprior"])["sample"] == k


def test_one_sample_has_no_deviation(place, capsys):
    assert denoise("a.png", uncertainty=True) == 2
    assert "--samples 2 or more" in said(capsys)[0]
    arguments = ("denoise", "a.png", "--sigma", "0.1", "--uncertainty", "--steps", "1")
    code, _, err = command(*arguments, "--samples", "1", folder=place)
    assert code == 2 and "--samples 2 or more" in err
    code, _, err = command(*arguments, "-o", "u.png", folder=place)
    assert code == 0, err
    assert {f"u-{k}.png" for k in range(1, 9)} <= set(os.listdir(place))


def test_nothing_that_came_in_is_null(place, capsys):
    settings = {"width": 16, "height": 16, "steps": 1}
    assert run(diffprior.generate, None, settings, Options(quiet=True, json=True)) == 0
    assert json.loads(capsys.readouterr().out)["input"] is None


def test_closed_streams_are_refused(place):
    arguments = ("denoise", "a.png", "--sigma", "0.1", "-o", "-")
    code, _, err = command(*arguments, folder=place, shell=">&-")
    assert code == 2 and "standard output is closed" in err
    code, _, err = command(
        "denoise", "-", "--sigma", "0.1", "-o", "o.png", folder=place, shell="<&-"
    )
    assert code == 1 and "standard input is closed" in err


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_mask_that_cannot_be_read_is_said_once(place, capsys, content):
    if content:
        (place / "m.png").write_bytes(content)
    Image.fromarray(IMAGE).save("b.png")
    options = Options(quiet=True)
    settings = {"mask": place / "m.png"}
    assert run(diffprior.inpaint, ["a.png", "b.png"], settings, options) == 2
    assert len(said(capsys)) == 1
