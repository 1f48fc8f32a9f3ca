"""Recipes, manifests, rows and cells that are wrong or hostile: one sentence, nothing lost."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diffprior.cli import process
from diffprior.errors import RunError
from diffprior.evaluation import benchmark as module
from diffprior.evaluation import certification, scores
from diffprior.evaluation.benchmark import Options, benchmark
from diffprior.evaluation.certification import Effort, certify
from diffprior.evaluation.datasets import corrupt, manifest
from diffprior.io import documents
from diffprior.priors.mixture import MixturePrior

from support.command import run
from support.shell import complaint, diffprior

pytestmark = pytest.mark.filterwarnings("always")
ROOT = Path(__file__).parents[2]
SIDE = 16
GOOD = """
title = "One problem"
side = 16

[[problem]]
name = "half"
operator = "mask(keep={drawn})"
draw = { kind = "pixels", share = 0.5 }
sigma = 0.05

[[problem]]
name = "small"
operator = "average(factor=2)"
sigma = 0.1
"""
HEAD = 'side = 16\n[[problem]]\nname = "p"\n'
PLAIN = HEAD + 'operator = "identity()"\n'
MASK = HEAD + 'sigma = 0.1\noperator = "mask(keep={drawn})"\n'
BLUR = HEAD + "sigma = 0.1\noperator = "


@pytest.fixture(scope="module", autouse=True)
def small_prior() -> Iterator[None]:
    """A prior that is opened in no time, where none is named."""
    small = MixturePrior(torch.ones(1), torch.zeros(1, 3, SIDE, SIDE), torch.ones(1))
    opened = module.load_prior
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "load_prior", lambda name, *rest: opened(name, *rest) if name else small
        )
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two images, a recipe, and the dataset that it makes of them."""
    folder = tmp_path_factory.mktemp("evaluation")
    for k, name in enumerate(("a.png", "b.png")):
        pixels = np.random.default_rng(k).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "r.toml").write_text(GOOD)
    assert corrupt([folder / "a.png", folder / "b.png"], folder / "r.toml", folder / "data") == 0
    return folder


@pytest.fixture
def place(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, which is the working folder."""
    shutil.copytree(whole, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


# Recipes


RECIPES: dict[str, tuple[bytes | str, str]] = {  # what a file holds, and words of the answer
    "empty": ("", "a recipe needs a"),
    "binary": (bytes(range(256)), "line 2: it is not text in UTF-8"),
    "UTF-16": (GOOD.encode("utf-16"), "line 1: it is not text in UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf" + PLAIN.encode() + b"sigma = -1", "sigma is a number"),
    "no TOML": ("side = 16\nname name", "at line 2, column"),
    "a million lines": ("#\n" * 10**6, "at most 1048576 of such a file are read"),
    "deep": ("x = " + "[" * 50_000, "is no TOML"),
    "a number of many digits": (f"side = {'9' * 5000}", "is no TOML"),
    "a hexadecimal of many digits": (
        f"side = 0x{'f' * 5000}\n" + PLAIN[10:] + "sigma = 0.1",
        "too large to print",
    ),
    "problem is a number": ("problem = 5", "a recipe needs a"),
    "problem is a list of numbers": ("problem = [5]", "problem 1 is a table of settings, got 5"),
    "problems": ("problems = [1]\n" + PLAIN + "sigma = 0.1", "write [[problem]]"),
    "no name": ('[[problem]]\noperator = "identity()"\nsigma = 0.1', "'name' is missing"),
    "no operator": (HEAD + "sigma = 0.1", "'operator' is missing"),
    "no noise": (PLAIN, "needs a sigma or a noise"),
    "an unknown setting": (PLAIN + "sgima = 0.1", "no setting 'sgima'; did you mean 'sigma'?"),
    "an unknown head": ("sied = 3\n" + PLAIN + "sigma = 0.1", "did you mean 'side'?"),
    "side is a text": ('side = "x"\n' + PLAIN[10:] + "sigma = 0.1", "side is a whole number in"),
    "side below 0": ("side = -1\n" + PLAIN[10:] + "sigma = 0.1", "in [0, 65536], got -1"),
    "side is true": ("side = true\n" + PLAIN[10:] + "sigma = 0.1", "got True"),
    "a huge side": ("side = 1000000000\n" + PLAIN[10:] + "sigma = 0.1", "in [0, 65536]"),
    "multiple is 0": ("multiple = 0\n" + PLAIN + "sigma = 0.1", "multiple is a whole number in"),
    "title is a list": ("title = [1]\n" + PLAIN + "sigma = 0.1", "title is a text, got [1]"),
    "sigma is NaN": (PLAIN + "sigma = nan", "sigma is a number from 0 to 1000000 or None, got nan"),
    "sigma is infinite": (PLAIN + "sigma = inf", "got inf"),
    "sigma below 0": (PLAIN + "sigma = -0.1", "got -0.1"),
    "sigma is a date": (PLAIN + "sigma = 1979-05-27", "sigma is a number"),
    "a wrong unit": (PLAIN + 'sigma = 0.1\nunit = "255"', "unit is one of '[0, 1]'"),
    "a name with a slash": (PLAIN.replace('"p"', '"../p"') + "sigma = 0.1", "is one word"),
    "a name of dots": (PLAIN.replace('"p"', '".."') + "sigma = 0.1", "is one word"),
    "an empty name": (PLAIN.replace('"p"', '""') + "sigma = 0.1", "is one word"),
    "a long name": (PLAIN.replace('"p"', f'"{"p" * 300}"') + "sigma = 0.1", "is one word"),
    "the same name twice": (2 * (PLAIN[10:] + "sigma = 0.1\n"), "the same name"),
    "draw is a number": (MASK + "draw = 5", "draw is a table or None, got 5"),
    "a draw without a kind": (MASK + "draw = { share = 0.5 }", "no kind None"),
    "an unknown draw": (MASK + 'draw = { kind = "pixel" }', "did you mean 'pixels'?"),
    "kind is a list": (MASK + "draw = { kind = [1] }", "no kind [1]"),
    "share is 2": (MASK + 'draw = { kind = "pixels", share = 2 }', "share is a number in [0, 1]"),
    "lines over all": (MASK + 'draw = { kind = "scratches", share = 1.0 }', "in [0, 0.9], got 1.0"),
    "a box too large": (MASK + 'draw = { kind = "box", side = 1.0, margin = 0.1 }', "do not fit"),
    "no such setting": (MASK + 'draw = { kind = "text", share = 0.1 }', "no setting 'share'"),
    "a draw without use": (PLAIN + 'sigma = 0.1\ndraw = { kind = "text" }', "goes with a draw"),
    "a kernel too large": (
        BLUR + '"blur(kernel={drawn})"\ndraw = { kind = "shake", size = 100000 }',
        "size is a whole number in [1, 1023], got 100000",
    ),
    "noise is a text": (PLAIN + 'noise = "poisson"', "noise is a table or None"),
    "an unknown noise": (PLAIN + 'noise = { kind = "rain" }', "no kind 'rain'"),
    "a noise without peak": (PLAIN + 'noise = { kind = "poisson" }', "'peak' is missing"),
    "a peak below 0": (PLAIN + 'noise = { kind = "poisson", peak = -1 }', "peak is a number from"),
    "an operator cut off": (BLUR + '"average("', "cannot read 'average('"),
    "an unknown operator": (BLUR + '"blurr(kernel=3)"', "no operator 'blurr'"),
    "an operator of operators": (BLUR + f'"{"-" * 3000}identity()"', "more than 2000 characters"),
    "code": (BLUR + "\"__import__('os').system('true')\"", "cannot read"),
    "a kernel of a star": (BLUR + "\"blur(kernel='*')\"", "'*' stands for no array"),
    "a kernel of a file": (BLUR + "\"blur(kernel='x.npy')\"", "no file x.npy in an operator"),
    "another kernel of a file": (
        BLUR + "'blur(kernel=\"../x.npy\")'",
        "no file ../x.npy in an operator",
    ),
    "a kernel of a picture": (BLUR + "\"blur(kernel='/etc/x.png')\"", "no kernel '/etc/x.png'"),
    "drawn for no array": (
        BLUR + '"average(factor={drawn})"\ndraw = { kind = "text" }',
        "factor of average",
    ),
    "a word without meaning": (BLUR + '"average(factor={width})"', "goes with a draw"),
    "published is a text": (PLAIN + 'sigma = 0.1\npublished = "x"', "is a list of tables"),
    "psnr is a text": (
        PLAIN + 'sigma = 0.1\npublished = [{ method = "m", psnr = "x" }]',
        "psnr is a number",
    ),
    "a result of nobody": (PLAIN + "sigma = 0.1\npublished = [{ psnr = 3.0 }]", "'method' is miss"),
    "signs that a terminal obeys": (PLAIN + '"\\u001b[2J" = 1\nsigma = 0.1', r"'\x1b[2J'"),
}


@pytest.mark.saw("a wrong recipe ended in a traceback, or in an endless loop, or was not noticed")
@pytest.mark.parametrize("name", RECIPES)
def test_a_wrong_recipe_is_one_sentence(place: Path, monkeypatch, capsys, name: str) -> None:
    content, words = RECIPES[name]
    (place / "x.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    ended = run(monkeypatch, capsys, "corrupt", "a.png", "x.toml", "out")
    assert ended.code == 2 and len(ended.said) == 1 and words in ended.said[0], ended
    assert not (place / "out").exists()


@pytest.mark.saw("a folder, a pipe or a device in the place of a file was read, or waited for")
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "none", "unreadable"])
def test_what_is_no_file_is_no_recipe(place: Path, monkeypatch, capsys, kind: str) -> None:
    path = place / "x.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "unreadable":
        path.symlink_to("x.toml")  # root may read all files, but no loop of links
    ended = run(monkeypatch, capsys, "corrupt", "a.png", "x.toml", "out")
    assert ended.code == 2 and len(ended.said) == 1


@pytest.mark.saw("a recipe of hostile text ended in a traceback in the shell")
@pytest.mark.parametrize("name", ["a kernel of a star", "binary"])
def test_a_wrong_recipe_is_one_sentence_in_the_shell(place: Path, name: str) -> None:
    content, words = RECIPES[name]
    (place / "x.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    done = diffprior("corrupt", "a.png", "x.toml", "out", folder=place)
    assert done.returncode == 2 and words in complaint(done)


@pytest.mark.saw("an image that a recipe does not suit, or a long name, stopped all the others")
def test_one_image_does_not_stop_the_others(place: Path, monkeypatch, capsys) -> None:
    long = "l" * 250 + ".png"  # its files have names of more than 255 bytes
    shutil.copy("a.png", long)
    Image.new("RGB", (3, 3)).save("small.png")
    Path("broken.png").write_bytes(Path("a.png").read_bytes()[:-50])
    ended = run(monkeypatch, capsys, "corrupt", ".", "r.toml", "out")
    assert ended.code == 1
    told = [line for line in ended.out.splitlines() if ": " in line]
    assert [name in "".join(told) for name in ("lll", "small.png", "broken.png")] == [True] * 3
    assert {item.id for item in manifest(place / "out")} == {
        f"{problem}/{image}" for problem in ("half", "small") for image in ("a.png", "b.png")
    }


@pytest.mark.saw("a name that is not UTF-8 ended the run in a traceback")
def test_a_name_that_is_not_text(place: Path, monkeypatch, capsys) -> None:
    name = os.fsdecode(b"it's \\ caf\xe9\x1b[2J.png")
    os.rename("a.png", name)
    assert run(monkeypatch, capsys, "corrupt", ".", "r.toml", "out").code == 0
    words = ("--method", "classical:pinv", "--no-lpips")
    ended = run(monkeypatch, capsys, "bench", "out", "result", *words)
    assert (
        ended.code == 0
        and r"half/it's \ caf\xe9\x1b[2J.png" in ended.out
        and "\x1b" not in ended.out
    )
    page = (place / "result" / "report.html").read_text(encoding="utf-8")
    assert r"caf\xe9\x1b[2J.png" in page and "\x1b" not in page


OPTIONS = {
    "corrupt a.png r.toml out --side -1": "side is a whole number in [0, 65536] or None, got -1",
    "corrupt a.png r.toml out --seed -1": "seed is a whole number from 0 on, got -1",
    "corrupt a.png r.toml out --limit 0": "--limit",
    "corrupt a.png r.toml out --limit -1": "--limit",
    "corrupt a.png r.toml out --problem x": "no problem 'x'",
    "corrupt a.png r.toml r.toml": "cannot write to the folder r.toml",
    "corrupt a.png r.toml a.png/out": "cannot write to the folder a.png/out",
    "corrupt a.png nothing out": "no recipe 'nothing'",
    "bench data out --method magic": "no method 'magic'",
    "bench data out --method classical:magic": "no method 'classical:magic'",
    "bench data out --method dpir(steps=": "cannot read 'dpir(steps='",
    "bench data out --method dpir(steps=-1)": "steps of DPIR is a whole number",
    "bench data out": "Missing option '--method'",
    "bench data out --method classical:pinv --samples 0": "samples of Options is a whole number",
    "bench data out --method classical:pinv --samples 99999999": "in [1, 10000]",
    "bench data out --method classical:pinv --samples x": "give a whole number, got x",
    "bench data out --method classical:pinv --batch 0": "batch of Options is a whole number",
    "bench data out --method classical:pinv --batch -3": "batch of Options is a whole number",
    "bench data out --method classical:pinv --seed -1": "seed of Options is a whole number",
    "bench data out --method classical:pinv --dtype float8": "no dtype 'float8'",
    "bench data out --method classical:pinv --device tpu": "no device 'tpu'",
    "bench data out --method classical:pinv --prior nowhere/": "nowhere",
    "bench nothing out --method classical:pinv": "nothing holds no manifest.jsonl",
    "bench data r.toml --method classical:pinv": "cannot write to the folder r.toml",
    "certify out --cell 2,99": "no cell '2,99'; write d,dy with an even d from 2 to 2000",
    "certify out --cell 0,0": "no cell '0,0'",
    "certify out --cell 1000000000,1": "no cell '1000000000,1'",
    "certify out --cell 7,1": "no cell '7,1'",
    "certify out --cell 8": "no cell '8'",
    "certify out --cell 8,1,1": "no cell '8,1,1'",
    "certify out --cell 08,1": "no cell '08,1'",
    "certify out --cell -8,1": "no cell '-8,1'",
    "certify out --cell 8,0": "no cell '8,0'",
    "certify out --cell 8.0,1": "no cell '8.0,1'",
    "certify out --cell \u0668,1": "no cell",
    "certify out --cell fields": "no cell 'fields'",
    "certify out --cell 8,1 --seeds 0": "seeds of Effort is a whole number in [1, 10000], got 0",
    "certify out --cell 8,1 --seeds 999999999": "in [1, 10000]",
    "certify out --cell 8,1 --jobs 0": "jobs of Effort is a whole number in [1, 256], got 0",
    "certify out --cell 8,1 --jobs 100000": "in [1, 256]",
    "certify out --cell 8,1 --few 0": "few of Effort",
    "certify out --cell 8,1 --method ddmn": "the nearest are",
    "certify out --cell 8,1 --method 3": "cannot read '3'",
    "certify out --cell 8,1 --method ddnm(": "cannot read 'ddnm('",
    "certify r.toml --cell 8,1 --method ddnm": "cannot write to the folder r.toml",
}


@pytest.mark.saw("a wrong option ended in a traceback, or did nothing at all")
@pytest.mark.parametrize("words", OPTIONS)
def test_a_wrong_option_is_one_sentence(place: Path, monkeypatch, capsys, words: str) -> None:
    ended = run(monkeypatch, capsys, *words.split())
    assert ended.code == 2 and len(ended.said) == 1 and OPTIONS[words] in ended.said[0], ended


@pytest.mark.saw("torchrun's variables of another program ended bench in a traceback")
@pytest.mark.parametrize("rank, world", [("x", "2"), ("-1", "2"), ("3", "2"), ("0", "")])
def test_a_wrong_rank_is_one_sentence(place: Path, monkeypatch, capsys, rank, world) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    ended = run(monkeypatch, capsys, "bench", "data", "out", "--method", "classical:pinv")
    assert ended.code == 2 and len(ended.said) == 1


# Manifests


def setting(name: str, value: Any) -> Callable[[dict], dict]:
    return lambda row: row | {name: value}


DEEP = "[" * 100_000
MANIFESTS: dict[str, tuple[str | bytes | Callable[[dict], Any], str]] = {
    "empty": ("", "is empty"),
    "blank lines": ("\n\n", "is empty"),
    "binary": (b"\x00\xff\xfe\n", "line 1: it is not text in UTF-8"),
    "no JSON": ("{'a': 1}", "line 1 is no JSON"),
    "half a line": ('{"id": "a', "line 1 is no JSON"),
    "deep": (DEEP, "nested too deeply"),
    "a number": ("5", "line 1 is a table of settings, got 5"),
    "a list": ("[]", "is a table of settings"),
    "no settings": ("{}", "the setting 'recipe' is missing"),
    "an unknown setting": (setting("pictrue", "a"), "did you mean 'picture'?"),
    "a picture with dots": (setting("picture", "../../../../victim"), "without its folder"),
    "a picture with a root": (setting("picture", "/tmp/victim"), "without its folder"),
    "a picture of dots": (setting("picture", ".."), "without its folder"),
    "no picture": (setting("picture", ""), "without its folder"),
    "a picture with a null": (setting("picture", "a\0b"), "without its folder"),
    "a picture in a folder": (setting("picture", "a/b.png"), "without its folder"),
    "a number for a picture": (setting("picture", 3), "picture is a text, got 3"),
    "a problem with dots": (setting("problem", "../p"), "is one word"),
    "a problem of dots": (setting("problem", ".."), "is one word"),
    "an unknown problem": (setting("problem", "hafl"), "no problem 'hafl'; did you mean 'half'?"),
    "no shape": (setting("shape", []), "shape is [3, H, W]"),
    "a shape of text": (setting("shape", "3xHxW"), "shape is a list"),
    "a huge shape": (setting("shape", [3, 60000, 60000]), "shape is [3, H, W]"),
    "a shape below 0": (setting("shape", [3, -1, 16]), "shape is a list"),
    "a shape of floats": (setting("shape", [3.0, 16.0, 16.0]), "shape is a list"),
    "a seed below 0": (setting("seed", -1), "seed is a whole number"),
    "a huge seed": (setting("drawn_by", 1.5), "drawn_by is a whole number"),
    "sigma is a number": (setting("sigma", 0.1), "sigma is a table"),
    "sigma without a unit": (setting("sigma", {"[0, 1]": 0.1}), "sigma has no value in [-1, 1]"),
    "sigma is NaN": (setting("sigma", {"[0, 1]": 0.1, "[-1, 1]": float("nan")}), "got nan"),
    "sigma is a text": (setting("sigma", {"[0, 1]": "a", "[-1, 1]": 0.1}), "got 'a'"),
    "sigma is None": (setting("sigma", {"[0, 1]": None, "[-1, 1]": None}), "got None"),
    "noise is a text": (setting("noise", "gaussian"), "noise is a table"),
    "noise without a kind": (setting("noise", {}), "no kind None"),
    "an unknown noise": (setting("noise", {"kind": "poison"}), "did you mean 'poisson'?"),
    "shared is a text": (setting("shared", "yes"), "shared is True or False"),
    "a long operator": (setting("operator", "x" * 10**6), "more than 2000 characters"),
    "a measurement of none": (setting("measurement", None), "measurement is a text"),
    "a truth of a list": (setting("truth", ["a"]), "truth is a text"),
    "the same item twice": (lambda row: [row, row], "stands there twice"),
    "signs that a terminal obeys": (setting("\x1b[2J", 1), r"'\x1b[2J'"),
}


def write_manifest(place: Path, content: str | bytes | Callable[[dict], Any]) -> None:
    path = place / "data" / "manifest.jsonl"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content)
    else:
        first = content(json.loads(path.read_text().splitlines()[0]))
        rows = first if isinstance(first, list) else [first]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.saw("a wrong manifest ended in a traceback, or was worked on for hours before")
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_wrong_manifest_is_one_sentence(place: Path, monkeypatch, capsys, name: str) -> None:
    content, words = MANIFESTS[name]
    write_manifest(place, content)
    ended = run(monkeypatch, capsys, "bench", "data", "out", "--method", "classical:pinv")
    assert ended.code == 2 and len(ended.said) == 1 and words in ended.said[0], ended
    assert not (place / "out").exists()


@pytest.mark.saw("the recipe of a dataset was gone, and that was said after hours of work")
@pytest.mark.parametrize("content", [None, "problem = 5", PLAIN + "sigma = 0.1"])
def test_the_recipe_is_checked_before_the_work(place: Path, monkeypatch, capsys, content) -> None:
    path = place / "data" / "recipe.toml"
    path.unlink() if content is None else path.write_text(content)
    ended = run(monkeypatch, capsys, "bench", "data", "out", "--method", "classical:pinv")
    assert ended.code == 2 and "recipe.toml" in ended.said[0] and not (place / "out").exists()


OUTSIDE: dict[str, dict[str, Any]] = {
    "a truth with dots": {"truth": "../a.png"},
    "a truth with a root": {"truth": "/proc/self/cmdline"},
    "a truth through a link": {"truth": "link/a.png"},
    "a measurement with dots": {"measurement": "../secret.npy"},
    "a kernel with dots": {"operator": "blur(kernel='../secret.npy')"},
    "a kernel with a root": {"operator": "blur(kernel='{root}/secret.npy')"},
    "a kernel through a link": {"operator": "blur(kernel='link/secret.npy')"},
    "a kernel of a picture": {"operator": "blur(kernel='{root}/a.png')"},
    "a pipe": {"truth": "truths/pipe"},
    "a device": {"truth": "truths/zero"},
    "nothing": {"truth": "truths/nothing.png"},
    "a folder": {"truth": "truths"},
    "pickled code": {"operator": "mask(keep='arrays/code.npy')"},
    "a shape that takes all memory": {"operator": "mask(keep='arrays/bomb.npy')"},
    "an unknown operator": {"operator": "blurr()"},
    "no array": {"operator": "mask(keep='*')"},
    "another shape": {"shape": [3, 8, 8]},
}


class Code:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def bomb() -> bytes:
    from io import BytesIO

    file = BytesIO()
    head = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
    np.lib.format.write_array_header_1_0(file, head)
    return file.getvalue() + bytes(64)


@pytest.mark.saw("a manifest of another read files that lie outside of its folder")
@pytest.mark.parametrize("name", OUTSIDE)
def test_an_item_cannot_lead_out_of_its_folder(place: Path, monkeypatch, capsys, name) -> None:
    """The item is an error of one sentence; the item beside it is done."""
    data = place / "data"
    np.save(place / "secret.npy", np.ones((3, 3), np.float32) / 9)
    np.save(data / "arrays" / "code.npy", np.array([Code()]), allow_pickle=True)
    (data / "arrays" / "bomb.npy").write_bytes(bomb())
    (data / "link").symlink_to(place)
    (data / "truths" / "zero").symlink_to("/dev/zero")
    os.mkfifo(data / "truths" / "pipe")
    rows = [json.loads(x) for x in (data / "manifest.jsonl").read_text().splitlines()[:2]]
    change = {
        k: v.replace("{root}", str(place)) if isinstance(v, str) else v
        for k, v in OUTSIDE[name].items()
    }
    (data / "manifest.jsonl").write_text(
        json.dumps(rows[0] | change) + "\n" + json.dumps(rows[1]) + "\n"
    )
    said: list[str] = []
    options = Options(lpips=False)
    assert benchmark(data, place / "out", ["classical:pinv"], options, say=said.append) == 1
    first, second = scores.rows(place / "out")
    assert {first["status"], second["status"]} == {"error", "ok"}
    assert not (place / "ran").exists() and len(said) == 2


@pytest.mark.saw("a manifest overwrote files that lie outside of the folder of the results")
def test_nothing_is_written_outside(place: Path, monkeypatch, capsys) -> None:
    (place / "victim.png").write_text("precious")
    for picture in ("../../../../victim", str(place / "victim")):
        write_manifest(place, setting("picture", picture))
        words = ("--method", "dpir(steps=1)", "--no-lpips")
        assert run(monkeypatch, capsys, "bench", "data", "a/b/c/out", *words).code == 2
    assert (place / "victim.png").read_text() == "precious"
    assert not (place / "a").exists()


@pytest.mark.saw("links in the folder of the results led to files that were overwritten")
@pytest.mark.parametrize(
    "link", ["images", "rows.0.jsonl", "run.json", "table.md", "report.html", ".rows.0.lock"]
)
def test_links_lead_nowhere(place: Path, monkeypatch, capsys, link: str) -> None:
    victim = place / "victim"
    if link == "images":
        victim.mkdir()
    else:
        victim.write_text("precious")
    (place / "out").mkdir()
    (place / "out" / link).symlink_to(victim)
    words = ("--method", "classical:pinv", "--no-lpips")
    run(monkeypatch, capsys, "bench", "data", "out", *words)
    left = [*victim.iterdir()] if link == "images" else victim.read_text()
    assert left == ([] if link == "images" else "precious")


# Rows


def rows_of(out: Path) -> dict[tuple[str, str], float]:
    return {(r["id"], r["method"]): r["psnr"] for r in scores.rows(out)}


@pytest.fixture(scope="module")
def done(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a benchmark of the dataset."""
    out = tmp_path_factory.mktemp("done") / "out"
    assert benchmark(whole / "data", out, ["classical:pinv"], Options(lpips=False)) == 0
    return out


ROWS: dict[str, Callable[[list[bytes]], bytes]] = {
    "cut off": lambda x: b"".join(x)[:-40],
    "cut in the middle": lambda x: x[0] + x[1][:50] + x[2] + x[3],
    "binary": lambda x: x[0] + bytes(range(256)) + b"\n" + b"".join(x[1:]),
    "zeros, as after a power failure": lambda x: b"".join(x[:3]) + bytes(4096),
    "psnr is a text": lambda x: (
        x[0].replace(b'"psnr": ', b'"psnr": "x", "was": ') + b"".join(x[1:])
    ),
    "no id": lambda x: x[0].replace(b'"id"', b'"di"') + b"".join(x[1:]),
    "another status": lambda x: x[0].replace(b'"ok"', b'"fine"') + b"".join(x[1:]),
    "a list": lambda x: b"[]\n" + b"".join(x[1:]),
    "a number of many digits": lambda x: b"9" * 5000 + b"\n" + b"".join(x[1:]),
    "deep": lambda x: b"[" * 100_000 + b"\n" + b"".join(x),
    "no end": lambda x: b"".join(x)[:-1],
    "a byte order mark": lambda x: b"\xef\xbb\xbf" + b"".join(x),
    "Windows lines": lambda x: b"".join(x).replace(b"\n", b"\r\n"),
    "twice": lambda x: b"".join(x) + b"".join(x),
}


@pytest.mark.saw("a damaged row of a benchmark ended it in a traceback")
@pytest.mark.parametrize("name", ROWS)
def test_damaged_rows_are_mended(place: Path, done: Path, monkeypatch, capsys, name: str) -> None:
    """What is damaged is computed again and kept beside; all else stays."""
    out = shutil.copytree(done, place / "out")
    path = out / "rows.0.jsonl"
    before = path.read_bytes()
    path.write_bytes(ROWS[name](before.splitlines(keepends=True)))
    words = ("--method", "classical:pinv", "--no-lpips")
    ended = run(monkeypatch, capsys, "bench", "data", "out", *words)
    assert ended.code == 0 and rows_of(out) == rows_of(done)
    for line in path.read_bytes().splitlines():
        scores.check_row(json.loads(line))
    if (out / "rows.0.jsonl.damaged").exists():
        assert ["moved to rows.0.jsonl.damaged" in line for line in ended.said] == [True]


@pytest.mark.saw("an image of the results was deleted, and the same command did not make it again")
def test_an_image_that_is_gone_is_made_again(place: Path, done: Path, monkeypatch, capsys) -> None:
    out = shutil.copytree(done, place / "out")
    images = {path: path.read_bytes() for path in out.rglob("*.png")}
    next(iter(images)).unlink()
    words = ("--method", "classical:pinv", "--no-lpips")
    assert run(monkeypatch, capsys, "bench", "data", "out", *words).code == 0
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == images


@pytest.mark.saw("the settings of a folder were damaged, or others, and the answer did not say so")
@pytest.mark.parametrize(
    "content, words",
    [
        (b"\xff\xfe", "it is not text in UTF-8"),
        (b"{", "is no JSON"),
        (b"[]", "has other settings"),
        (b'{"samples": 3}', "has other settings, samples 3 and not 1"),
    ],
)
def test_other_settings_are_told(place: Path, monkeypatch, capsys, content, words) -> None:
    (place / "out").mkdir()
    (place / "out" / "run.json").write_bytes(content)
    ended = run(monkeypatch, capsys, "bench", "data", "out", "--method", "classical:pinv")
    assert ended.code == 2 and words in ended.said[0]
    assert (place / "out" / "run.json").read_bytes() == content


@pytest.mark.saw("two runs in one folder doubled all rows")
@pytest.mark.parametrize("command", ["bench", "certify", "corrupt"])
def test_two_runs_do_not_share_a_folder(place: Path, monkeypatch, capsys, command: str) -> None:
    words, name = {
        "bench": (("bench", "data", "out", "--method", "classical:pinv"), ".rows.0.lock"),
        "certify": (("certify", "out", "--cell", "8,1", "--seeds", "1"), ".rows.lock"),
        "corrupt": (("corrupt", "a.png", "r.toml", "out"), ".lock"),
    }[command]
    with documents.locked(Path("out") / name):
        ended = run(monkeypatch, capsys, *words)
    assert ended.code == 2
    assert "another run is writing to out; wait for it" in ended.said[0]
    assert os.listdir("out") in ([], [name])


@pytest.mark.saw("a killed run left a lock, and no run could use the folder again")
def test_the_lock_of_a_killed_process_is_no_lock(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from diffprior.io import documents
with documents.locked(Path("out/.lock")):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match="another run is writing"):
        documents.locked(tmp_path / "out" / ".lock").__enter__()
    holder.kill()
    holder.communicate()
    with documents.locked(tmp_path / "out" / ".lock"):
        time.sleep(0)


# Reports


@pytest.mark.saw("a name with signs of HTML became part of the page")
def test_the_page_escapes_names(place: Path, monkeypatch, capsys) -> None:
    evil = "<img src=x onerror=alert(1)>.png"
    os.rename("a.png", evil)
    text = GOOD.replace('title = "One problem"', 'title = "<script>alert(2)</script>\\u202e"')
    (place / "r.toml").write_text(text)
    assert run(monkeypatch, capsys, "corrupt", evil, "r.toml", "new").code == 0
    words = ("--method", "classical:pinv", "--no-lpips")
    assert run(monkeypatch, capsys, "bench", "new", "out", *words).code == 0
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "<script>alert" not in page and "\u202e" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page
    assert "\u202e" not in (place / "out" / "table.md").read_text(encoding="utf-8")


# Certification


CERTIFIED: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda x: x[:-30],
    "binary": lambda x: x + b"\xff\xfe\x00\n",
    "half a line": lambda x: x.replace(b"ddnm", b"ddnm\n", 1),
    "a quote": lambda x: x.replace(b"8,1", b'"8,1', 1),
    "a number that is none": lambda x: x[:-30] + b",abc,1,1,1\n",
    "a seed that is none": lambda x: x.replace(b'"8,1",0', b'"8,1",x', 1),
    "too many cells": lambda x: x + b"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16\n",
    "a byte order mark": lambda x: b"\xef\xbb\xbf" + x,
    "Windows lines": lambda x: x.replace(b"\n", b"\r\n"),
    "twice": lambda x: x + b"".join(x.splitlines(keepends=True)[1:]),
    "another column": lambda x: x.replace(b"seconds\n", b"seconds,note\n", 1),
}


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("certified")
    certify(out, ["ddnm(sampler=ddim(steps=2))"], ["8,1"], Effort(seeds=1, n=20), lambda _: None)
    return (out / "rows.csv").read_bytes()


@pytest.mark.saw("a damaged rows.csv ended a certification in a traceback, or was emptied")
@pytest.mark.parametrize("name", CERTIFIED)
def test_a_damaged_certification_is_mended(
    tmp_path: Path, certified: bytes, capsys, name: str
) -> None:
    (tmp_path / "rows.csv").write_bytes(CERTIFIED[name](certified))
    method = "ddnm(sampler=ddim(steps=2))"
    rows = certify(tmp_path, [method], ["8,1"], Effort(seeds=1, n=20), lambda _: None)
    assert [(r["problem"], r["seed"], r["method"]) for r in rows] == [
        ("8,1", "0", name) for name in ("floor", "prior", method)
    ]
    assert all(float(row["sliced"]) > 0 for row in rows)
    again = (tmp_path / "rows.csv").read_bytes()
    certify(tmp_path, [method], ["8,1"], Effort(seeds=1, n=20), lambda _: None)
    assert (tmp_path / "rows.csv").read_bytes() == again


@pytest.mark.saw("a file of another program with the name rows.csv was emptied")
@pytest.mark.parametrize(
    "content", [b"\xff\xfe\n", b"a;b\n1;2\n", b"no line end", b"name,age\nA,3"]
)
def test_a_file_of_others_is_left_alone(place: Path, monkeypatch, capsys, content: bytes) -> None:
    (place / "out").mkdir()
    (place / "out" / "rows.csv").write_bytes(content)
    words = ("--cell", "8,1", "--method", "ddnm", "--seeds", "1")
    ended = run(monkeypatch, capsys, "certify", "out", *words)
    assert ended.code == 2 and "does not begin with a line of columns" in ended.said[0]
    assert (place / "out" / "rows.csv").read_bytes() == content


@pytest.mark.saw("one method that failed on one problem ended the certification of all")
def test_a_row_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch) -> None:
    """It is told, it is not written, and the same call tries it again."""
    whole, said = certification._row, []

    def fail(cell: str, seed: int, name: str, n: int) -> dict:
        if name == "ddnm":
            raise RuntimeError("the matrix\nis singular")
        return whole(cell, seed, name, n)

    monkeypatch.setattr(certification, "_row", fail)
    with pytest.raises(RunError, match="^1 of 3 rows failed; the same command tries them again$"):
        certify(tmp_path, ["ddnm"], ["8,1"], Effort(seeds=1, n=20), said.append)
    assert r"method ddnm failed: the matrix\nis singular" in said[2]
    monkeypatch.setattr(certification, "_row", whole)
    rows = certify(tmp_path, ["ddnm"], ["8,1"], Effort(seeds=1, n=20), said.append)
    assert [row["method"] for row in rows] == ["floor", "prior", "ddnm"]


# Scripts


SCRIPTS = {
    "inpainting.py a.png --out out --mask pixel50": "--mask 'pixel50' is unknown; did you mean",
    "inpainting.py a.png --out out --method magic": "--method 'magic' is unknown; there are telea",
    "restoration.py a.png --out out --problem colours": "did you mean 'colors'?",
    "restoration.py a.png --out out --method magic": "--method 'magic' is unknown",
    "editing.py pie . --out out --method magic": "--method 'magic' is unknown",
    "denoising.py a.png --only BM4D": "--only 'BM4D' is unknown; did you mean 'BM3D'?",
    "inpainting.py a.png --out r.toml": "cannot write to the folder r.toml",
}


@pytest.mark.saw("an unknown --mask or --method of a script ended in a traceback")
@pytest.mark.parametrize("words", SCRIPTS)
def test_a_script_refuses_in_one_sentence(place: Path, monkeypatch, capsys, words: str) -> None:
    name, *arguments = words.split()
    path = ROOT / "scripts" / "tables" / name
    monkeypatch.setattr("sys.argv", [str(path), *arguments])
    monkeypatch.setattr(process, "run", lambda work: sys.exit(process._ending(work)))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and len(said) == 1
    assert said[0].startswith("diffprior: ") and SCRIPTS[words] in said[0]
