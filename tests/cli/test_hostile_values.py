"""Every option of every task with values that nobody should type: one sentence, or a result."""

import itertools
import os
import sys
from functools import cache

import numpy as np
import pytest
import typer
from PIL import Image

from diffprior.cli import commands, index, streams
from diffprior.runtime import placement

VALUES = [
    *("", "-1", "0", "nan", "inf", "1e400", "9" * 25, "\x1b[31mx", "caf\udce9", "x" * 5000),
    *("nope.png", "(((", "dpir(start=nan)", "gaussian:1e9", "..", "/dev/null"),
]
GROUP = typer.main.get_command(commands.app)
TASKS = {
    "blend": "a.png --mask m.png --steps 2",
    "colorize": "a.png --steps 1",
    "deblur": "a.png --kernel gaussian:1 --steps 1",
    "dejpeg": "a.jpg --steps 1",
    "denoise": "a.png --sigma 0.1 --steps 1",
    "edit": "a.png --steps 2",
    "generate": "--width 16 --height 16 --steps 2",
    "inpaint": "a.png --mask m.png --steps 1",
    "interpolate": "a.png --to a.png --steps 2 --samples 2",
    "invert": "a.png --steps 2",
    "reconstruct": "y.npy --operator gray --width 20 --height 16 --steps 1",
    "restore": "a.png --scratches m.png --steps 1",
    "sdedit": "a.png --steps 2",
    "style": "a.png --reference a.png --steps 2",
    "upscale": "a.png --scale 2 --steps 1",
    "variations": "a.png --steps 2",
}


def options(task):
    """Yield the flags of a task that take a value; shared ones for one task only."""
    for parameter in GROUP.get_command(None, task).params:
        if parameter.param_type_name == "option" and not parameter.is_flag:
            flag = parameter.opts[0]
            if (flag not in shared() and flag != "--help") or task == "denoise":
                yield flag


@cache
def shared():
    """Return the flags that nearly all tasks have."""
    flags = [{p.opts[0] for p in GROUP.get_command(None, task).params} for task in TASKS]
    counts = {flag: sum(flag in each for each in flags) for flag in set.union(*flags)}
    return {flag for flag, count in counts.items() if count > len(TASKS) / 2}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder deep enough that ".." holds nothing, with small inputs; priors are kept."""
    folder = tmp_path / "above" / "in"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (16, 20, 3), np.uint8))
    image.save("a.png")
    image.save("a.jpg")
    mask = np.zeros((16, 20), np.uint8)
    mask[4:8, 5:9] = 255
    Image.fromarray(mask).save("m.png")
    np.save("y.npy", rng.random((1, 16, 20)).astype(np.float32))
    real, kept = placement.load_prior, {}

    def load(prior, *rest, **more):
        key = repr((prior, rest, more))
        if key not in kept:
            kept[key] = real(prior, *rest, **more)
        return kept[key]

    monkeypatch.setattr(placement, "load_prior", load)
    return folder


def run(words, monkeypatch, capsys):
    """Run a command line here; return its code and the lines on standard error."""
    monkeypatch.setattr(sys, "argv", ["diffprior", *words])
    code = commands.run()
    return code, capsys.readouterr().err.splitlines()


def test_all_tasks_are_here():
    assert set(TASKS) == {c.name for c in index.commands().values() if c.options is not None}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", TASKS)
def test_a_hostile_value_is_one_sentence(place, monkeypatch, capsys, task):
    before = set(os.listdir())
    for flag, value in itertools.product(options(task), VALUES):
        words = [task, *TASKS[task].split(), "--force", flag, value]
        if flag in words[:-2]:  # the usual value makes room
            at = words.index(flag)
            del words[at : at + 2]
        code, lines = run(words, monkeypatch, capsys)
        case = f"{task} {flag} {value[:20]!r}: {code} {lines}"
        assert code in (0, 1, 2), case
        assert len(lines) == 1 or code == 0, case
        for line in lines:
            assert line.startswith("diffprior: ") and line.isprintable(), case
            assert len(line) <= len("diffprior: ") + streams.MOST, case
            assert "unexpected error" not in line and "Traceback" not in line, case
        for name in set(os.listdir()) - before:
            os.unlink(name)


@pytest.mark.parametrize("value", VALUES)
def test_a_hostile_name_of_an_input_is_one_sentence(place, monkeypatch, capsys, value):
    os.rename("a.png", "../a.txt")
    code, lines = run(["denoise", "--sigma", "0.1", "--", value], monkeypatch, capsys)
    assert code == 1 and len(lines) == 1, lines
    assert lines[0].isprintable() and len(lines[0]) <= len("diffprior: ") + streams.MOST
