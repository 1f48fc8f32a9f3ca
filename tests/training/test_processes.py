"""Two processes train as one with twice the batch."""

import csv
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from diffprior.networks.nafunet import NAFUNet, save_network
from diffprior.training import commands
from diffprior.training.photographs import Level, Photographs
from diffprior.training.processes import Processes

from support import warm

TWO = """
import os, sys
port, *words = sys.argv[1:]
child = os.fork()
place = {"RANK": str(int(child == 0)), "WORLD_SIZE": "2", "MASTER_PORT": port}
os.environ.update(place, MASTER_ADDR="localhost")
sys.argv = ["diffprior", *words]
from diffprior.cli import main
from diffprior.training import commands
commands._draw_curve = lambda out: None  # it takes longer than the run
try:
    main()
finally:
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
OPTIONS = ("--every", "60", "--holes", "0", "--init", "small")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with small images of two classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    images = np.clip(rng.normal(80 + 90 * labels[:, None, None], 30, (64, 8, 8)), 0, 255)
    pixels = images.astype(np.uint8)
    np.savez(tmp_path / "data.npz", x_train=pixels, y_train=labels, x_test=pixels[:8])
    (tmp_path / "two.py").write_text(TWO)
    torch.manual_seed(0)
    small = NAFUNet((8, 16), (1, 1), image_channels=1, embedding=16, classes=2, size=8)
    save_network(small, tmp_path / "small")
    return tmp_path


def two(place: Path, *words: str) -> str:
    """Train in two processes, and return what they said."""
    with socket.socket() as server:
        server.bind(("localhost", 0))
        port = str(server.getsockname()[1])
    words = ("train", "data.npz", "--out", "two", *OPTIONS, *words)
    done = warm.run(place / "two.py", port, *words, folder=place)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next((folder / "weights").glob("*.safetensors")))


def test_two_processes_train_as_one_with_twice_the_batch(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same curve, also where they go on; what rounds otherwise is the mean of gradients."""
    said = two(place, "--steps", "4", "--batch", "8")
    assert said.count("new run") == 1
    assert two(place, "--steps", "8", "--batch", "8").count("resumed") == 1
    monkeypatch.setattr(commands, "_draw_curve", lambda out: None)
    data, out = [place / "data.npz"], place / "one"
    for steps in (4, 8):
        commands.train(data, out, steps=steps, batch=16, holes=0, init=place / "small")
    found, expected = curve(place / "two"), curve(place / "one")
    assert [row["step"] for row in found] == [row["step"] for row in expected] == ["4", "8"]
    for a, b in zip(found, expected, strict=True):
        print(a, b)
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=0.002)
        levels = [name for name in b if name[0].isdigit()]
        assert len(levels) == 6
        for name in levels:
            assert float(a[name]) == pytest.approx(float(b[name]), abs=0.05)
    one = weights(place / "one")
    for name, weight in weights(place / "two").items():
        error = (weight.float() - one[name].float()).norm() / one[name].float().norm().clamp_min(1)
        print(name, error)
        assert error < 0.02


def test_each_process_has_its_rows_of_the_batch() -> None:
    """Together the parts are the crops that one process would draw."""
    images = Photographs.__new__(Photographs)
    rng = np.random.default_rng(0)
    images.sources = {"a": [[Level(0, 40, 30)]]}
    images.names, images.share = ["a"], np.ones(1)
    images.pixels = torch.from_numpy(rng.integers(0, 256, (1200, 3), np.uint8))
    whole, _ = images.batch(np.random.default_rng(1), 6, 8)
    parts = [
        images.batch(np.random.default_rng(1), 6, 8, rows=slice(2 * k, 2 * k + 2))[0]
        for k in range(3)
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert Processes().rows(4) == slice(0, 4)
