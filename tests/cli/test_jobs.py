"""Several processes: the same results, and whatever ends one of them loses nothing."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diffprior
from diffprior.cli.pool import Pool
from diffprior.errors import RunError

from support.shell import texts

FAST = ("--sigma", "0.1", "--method", "dpir(start=0.2)", "--steps", "1")


@contextmanager
def doing(work: Callable, number: int, tell: Callable) -> Iterator[Callable]:
    """The setup of a pool whose work is a function of the job."""
    yield partial(work, tell)


@contextmanager
def broken(number: int, tell: Callable) -> Iterator[Callable]:
    raise ValueError("no such thing")
    yield


def square(tell: Callable, job: int) -> int:
    tell("share", job / 10)
    return job**2


def fatal(folder: Path, times: int, tell: Callable, job: int) -> int:
    """Square a number; the third job ends its process so many times."""
    mark = folder / f"{job}.{os.getpid()}"
    mark.touch()
    if job == 3 and len(list(folder.glob("3.*"))) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return job**2


def endless(tell: Callable, job: int) -> None:
    tell("pid", os.getpid())
    time.sleep(60)


def pool(work: Callable, count: int = 2) -> Pool:
    return Pool(count, partial(doing, work), "fork")


def answers(told: list) -> dict[int, object]:
    found = [(t.job, t.value) for t in told if t.kind == "answer"]
    assert len(dict(found)) == len(found), "an answer came twice"
    return dict(found)


def test_each_job_is_done_once() -> None:
    told = list(pool(square).run(range(9)))
    assert answers(told) == {n: n * n for n in range(9)}
    assert sorted(t.value for t in told if t.kind == "share") == [n / 10 for n in range(9)]
    assert not multiprocessing.active_children()


def test_the_job_of_a_process_that_is_killed_is_done_again(tmp_path: Path) -> None:
    told = list(pool(partial(fatal, tmp_path, 1)).run(range(6)))
    assert answers(told) == {n: n * n for n in range(6)}
    assert len(list(tmp_path.glob("3.*"))) == 2 and len(list(tmp_path.iterdir())) == 7


def test_a_job_that_ends_two_processes_is_lost_and_no_other(tmp_path: Path) -> None:
    told = list(pool(partial(fatal, tmp_path, 9)).run(range(6)))
    assert answers(told) == {n: n * n for n in range(6) if n != 3}
    assert [t[::2] for t in told if t.kind == "lost"] == [(3, "was killed by SIGKILL")]


def test_work_that_cannot_begin_is_an_error() -> None:
    with pytest.raises(RunError, match="cannot begin its work: no such thing"):
        list(Pool(2, broken, "fork").run(range(3)))
    assert not multiprocessing.active_children()


def test_no_process_outlives_the_loop() -> None:
    told = pool(endless).run(range(4))
    pids = [next(told).value for _ in range(2)]
    told.close()
    assert not any(map(is_alive, pids))


ENDLESS = """
from diffprior.cli import process
from test_jobs import endless, pool

def work():
    for told in pool(endless).run(range(2)):
        print(told.value, flush=True)
    return 0

process.run(work)
"""
ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}


@pytest.mark.parametrize("number", [*ENDS, signal.SIGKILL])
def test_no_process_outlives_the_one_that_started_it(number: int) -> None:
    """A terminal sends Ctrl-C to all of them; other signals reach the first one."""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None and parent.stderr is not None
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        (os.killpg if number == signal.SIGINT else os.kill)(parent.pid, number)
        code, said = parent.wait(30), parent.stderr.read().decode().strip()
    expected, word = ENDS.get(number, (-number, ""))
    assert (code, said) == (expected, f"diffprior: {word}" if word else "")
    soon = time.monotonic() + 10
    while any(map(is_alive, pids)) and time.monotonic() < soon:
        time.sleep(0.02)
    assert not any(map(is_alive, pids))


def is_alive(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three small images and one that is damaged."""
    rng = np.random.default_rng(0)
    for name in "abd":
        Image.fromarray(rng.integers(0, 256, (16, 20, 3), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_two_processes_make_the_files_of_one(place: Path) -> None:
    """The very pixels, the same failures and the same code."""
    from diffprior.cli.batch import Options, run

    alone = {"sigma": "0.1", "steps": 1, "method": "dpir(start=0.2)"}
    assert run(diffprior.denoise, ["."], alone, Options(quiet=True, output="one/")) == 1
    done = texts("denoise", ".", *FAST, "--jobs", "2", "--json", "-o", "two/", folder=place)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("diffprior: c.png: it is no PNG") == 1, done.stderr
    notes = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(note["input"] for note in notes) == ["a.png", "b.png", "d.png"]
    for name in "abd":
        result = f"{name}.denoised.png"
        assert np.array_equal(pixels(place / "one" / result), pixels(place / "two" / result))
    again = ("--jobs", "2", "--skip-existing", "-o", "two/")
    done = texts("denoise", ".", *FAST, *again, folder=place)
    assert "3 files are done already" in done.stderr
