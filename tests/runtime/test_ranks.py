"""Several processes that a launcher started: each has its share, and the first one reports."""

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.errors import SettingError
from diffprior.runtime.ranks import Rank, own_device

from support import warm

LAUNCHER = """
import sys
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

def work(*words):
    from diffprior.cli import main
    sys.argv = ["diffprior", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise

config = LaunchConfig(
    min_nodes=1, max_nodes=1, nproc_per_node=2, start_method="fork", rdzv_backend="static",
    rdzv_endpoint="localhost:" + sys.argv[1], rdzv_configs={"rank": 0}, monitor_interval=0.02,
    max_restarts=0, run_id="run",
)
elastic_launch(config, work)(*sys.argv[2:])
"""


def free_port() -> str:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return str(server.getsockname()[1])


def environment(rank: object, size: object, **more: str) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(size), **more}


def test_alone_is_the_first_of_one() -> None:
    assert Rank.here({}) == Rank.here({"RANK": "1"}) == Rank() and Rank().is_first
    assert Rank.here(environment(5, 8, LOCAL_RANK="1")) == Rank(number=5, size=8, local=1)


@pytest.mark.parametrize("wrong", [("x", "2"), ("2", "2"), ("-1", "2"), ("0", "1.5"), ("", "")])
def test_a_place_that_cannot_be_is_refused(wrong: tuple[str, str]) -> None:
    with pytest.raises(SettingError, match=r"RANK|WORLD_SIZE"):
        Rank.here(environment(*wrong))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_each_item_belongs_to_one_process(size: int) -> None:
    items = {n: str(n) for n in range(13)}
    shares = [Rank(number=k, size=size).share(items) for k in range(size)]
    assert sorted(n for share in shares for n in share) == list(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("name", "place", "expected"),
    [
        *((None, 0, "cuda:0"), ("auto", 3, "cuda:3"), ("cuda", 5, "cuda:1")),
        *(("cpu", 1, "cpu"), ("cuda:2", 1, "cuda:2"), ("mps", 1, "mps")),
    ],
)
def test_each_process_has_a_device_of_its_own(
    monkeypatch: pytest.MonkeyPatch, name: str | None, place: int, expected: str
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("cuda"))
    assert own_device(name, place) == expected


def test_without_several_devices_a_name_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert own_device(None, 1) is None


def test_the_lines_of_the_others_arrive_whatever_ends_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", free_port())

    def other(number: int, fails: bool) -> None:
        with pytest.raises(KeyError) if fails else threading.Lock():
            with Rank(number=number, size=3).handing_over() as lines:
                lines += [f"line {number}", "another"]
                if fails:
                    raise KeyError

    threads = [threading.Thread(target=other, args=(k, k == 2)) for k in (1, 2)]
    for thread in threads:
        thread.start()
    heard = list(Rank(size=3).handed_over())
    for thread in threads:
        thread.join()
    assert heard == ["line 1", "another", "line 2", "another"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with images, of which the fourth, which the second process takes, is damaged."""
    (tmp_path / "launch.py").write_text(LAUNCHER)
    rng = np.random.default_rng(0)
    for name in "abce":
        image = Image.fromarray(rng.integers(0, 256, (16, 20, 3), np.uint8))
        image.save(tmp_path / f"{name}.png")
    (tmp_path / "d.png").write_bytes(b"no image")
    return tmp_path


@pytest.fixture
def launched(place: Path) -> Callable:
    return lambda *words: warm.run(place / "launch.py", free_port(), *words, folder=place)


def test_the_processes_of_torchrun_share_the_files(place: Path, launched: Callable) -> None:
    """Each file is done once, in its process; the first one says what became of all."""
    words = ("denoise", ".", "--sigma", "0.1", "--method", "dpir(start=0.2)", "--steps", "1")
    done = launched(*words, "--json", "-o", "out/")
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert said.count("diffprior: d.png: it is no PNG") == 1, said
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [line["input"] for line in lines] == ["a.png", "c.png", "e.png", "b.png"]
    results = sorted(path.name for path in (place / "out").iterdir())
    assert results == [f"{name}.denoised.png" for name in "abce"]


def run_here(place: Path, monkeypatch: pytest.MonkeyPatch, output: str, **variables: str) -> int:
    """Run a command in this process, as a launcher would have it."""
    from diffprior.cli.batch import Options, run

    monkeypatch.chdir(place)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = {"sigma": "0.1", "steps": 1, "method": "dpir(start=0.2)"}
    return run(diffprior.denoise, ["a.png", "b.png"], settings, Options(quiet=True, output=output))


def test_what_is_refused_is_said_once(place: Path, monkeypatch, capsys) -> None:
    code = run_here(place, monkeypatch, "x.bmp", RANK="0", WORLD_SIZE="2")
    assert code == 2 and "several images need a folder" in capsys.readouterr().err
    code = run_here(place, monkeypatch, "x.bmp", RANK="1", WORLD_SIZE="2")
    assert code == 2 and not capsys.readouterr().err


def test_a_restart_leaves_out_what_is_done(place: Path, monkeypatch, capsys) -> None:
    alone = {"RANK": "0", "WORLD_SIZE": "1"}
    assert run_here(place, monkeypatch, "out/", **alone) == 0
    assert run_here(place, monkeypatch, "out/", **alone) == 1
    assert "exists; use --force" in capsys.readouterr().err
    assert run_here(place, monkeypatch, "out/", **alone, TORCHELASTIC_RESTART_COUNT="1") == 0
    assert "2 files are done already" in capsys.readouterr().err


def test_without_a_place_to_meet_each_reports_for_itself(place: Path, monkeypatch, capsys) -> None:
    (place / "b.png").write_bytes(b"no image")
    assert run_here(place, monkeypatch, "out/", RANK="1", WORLD_SIZE="2") == 1
    assert "b.png: it is no PNG" in capsys.readouterr().err
    assert run_here(place, monkeypatch, "out/", RANK="0", WORLD_SIZE="2") == 0
    assert [path.name for path in (place / "out").iterdir()] == ["a.denoised.png"]
