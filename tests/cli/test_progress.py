"""The bar on a terminal: from the first second of a run to its end."""

import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

import diffprior
from diffprior import bands
from diffprior.cli.batch import run
from diffprior.cli.outputs import Options
from diffprior.cli.progress import Bar
from diffprior.phases import each_part

from support.priors import Shrinks

pty = pytest.importorskip("pty")

FAST = ("--steps", "2")
ABSENT = """
import sys
sys.stderr.write("<torch is imported>")
raise SystemExit(3)
"""


def shown(*words: str, folder: Path, **environment: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, and return its code and all that was shown."""
    ours, theirs = pty.openpty()
    env = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "100"} | environment
    process = subprocess.Popen(
        [sys.executable, "-m", "diffprior", *words],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    watch = threading.Timer(120, process.kill)
    watch.start()
    text = b"".join(_read(ours))
    process.communicate()
    watch.cancel()
    os.close(ours)
    return process.returncode, text.decode()


def _read(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            return
        if not data:
            return
        yield data


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two small images."""
    image = Image.open("data/samples/dog.png").convert("L").resize((28, 28))
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png")
    return tmp_path


def test_the_bar_shows_before_anything_heavy_is_imported(place: Path) -> None:
    (place / "torch.py").write_text(ABSENT)
    code, text = shown("colorize", "a.png", *FAST, folder=place, PYTHONPATH=str(place))
    assert code == 3
    assert "starting" in text.partition("<torch is imported>")[0]


def test_the_bar_says_what_is_done_and_leaves_where_each_result_is(place: Path) -> None:
    (place / "bad.png").write_bytes(b"no image")
    code, text = shown("colorize", "a.png", "bad.png", "b.png", *FAST, folder=place)
    assert code == 1
    at = [text.index(word) for word in ("starting", "reading", "preparing", "writing")]
    assert at == sorted(at)
    left = lines(text)
    assert len(left) == 3
    assert all(name in line for name, line in zip(("a.png", "bad.png", "b.png"), left, strict=True))
    assert re.fullmatch(r"a\.png -> a\.colorized\.png \(\d+ s\)", left[0])
    assert re.fullmatch(r"b\.png -> b\.colorized\.png \(\d+ s\)", left[2])
    assert left[1].startswith("diffprior: bad.png: it is no PNG")


def lines(text: str) -> list[str]:
    """The lines that are left on a terminal."""
    left = [""]
    for part in re.split(r"(\r\n|\r|\x1b\[1A|\x1b\[2K)", text):
        if part == "\r\n":
            left.append("")
        elif part == "\x1b[1A":
            left.pop()
        elif part == "\x1b[2K":
            left[-1] = ""
        elif part != "\r":
            left[-1] += re.sub(r"\x1b\[[?0-9;]*[a-z]", "", part)
    return [line for line in left if line]


class Terminal(io.StringIO):
    """Text that a terminal would show."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("quiet", [True, False])
def test_nothing_is_shown_where_it_is_not_wanted(
    quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = Bar(quiet)
    with bar.run(), bar.of("a.png", "reading"):
        bar.update(0.5)
        bar.stage("writing")
    assert ("a.png" in terminal.getvalue()) is not quiet
    assert not (quiet and terminal.getvalue())


class Watched(Bar):
    """A bar that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.shares: list[float] = []
        self.stages: list[str] = []

    def update(self, share: float) -> None:
        self.shares.append(share)

    def stage(self, text: str) -> None:
        self.stages.append(text)


def test_the_bar_moves_within_a_step_of_a_large_image(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 24 megapixels a step takes minutes, and most of them are those of a long solve."""
    monkeypatch.setattr(bands, "LARGE", 500)
    bar = Watched()
    settings = {"kernel": "gaussian:1", "steps": 2, "sigma": 0.02}
    assert run(diffprior.deblur, [str(place / "a.png")], settings, Options(quiet=True), bar) == 0

    assert bar.shares == sorted(bar.shares) and bar.shares[-1] == 1
    within = [share for share in bar.shares if 0 < share < 0.5]
    assert len(set(within)) > 10 and within[-1] > 0.4
    solves = [text for text in bar.stages if text.startswith("solving")]
    assert solves[0] == "solving 0 of 50" and solves[-1] == "solving 50 of 50"
    phases = ["preparing", "opening the prior", "finishing", "writing"]
    at = [bar.stages.index(text) for text in phases]
    assert at == sorted(at)


def test_a_callback_hears_of_parts_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bands, "LARGE", 500)
    shares: list[float] = []
    call = partial(
        diffprior.deblur,
        torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0)),
        "gaussian:1",
        sigma=0.02,
        steps=3,
        prior=Shrinks(),
        callback=lambda x, share: shares.append(share),
    )
    call()
    assert shares == [1 / 3, 2 / 3, 1]
    shares.clear()
    told: list[tuple[str, int, int]] = []
    with each_part(lambda *part: told.append(part)):
        call()
    assert len(shares) > 30 and shares == sorted(shares) and shares[-1] == 1
    assert ("solving", 1, 50) in told and ("measuring the noise", 0, 0) not in told
