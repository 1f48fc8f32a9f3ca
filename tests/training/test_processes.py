"""Two processes train as one with twice the batch."""

import csv
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from diffprior.networks.nafunet import NAFUNet, save_network
from diffprior.runtime.ranks import Rank
from diffprior.training import commands
from diffprior.training.photographs import Photographs
from diffprior.training.processes import Processes

from support import warm

TWO = """
import os, sys
import torch._dynamo  # which optimizers import: once for both
port, *words = sys.argv[1:]
child = os.fork()
place = {"RANK": str(int(child == 0)), "WORLD_SIZE": "2", "MASTER_PORT": port}
os.environ.update(place, MASTER_ADDR="localhost")
sys.argv = ["diffprior", *words]
from diffprior.cli import main
from diffprior.runtime.ranks import Rank
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
    """The same curve, where they go on with a run; what rounds otherwise is a mean of gradients."""
    monkeypatch.setattr(commands, "_draw_curve", lambda out: None)
    data, out = [place / "data.npz"], place / "one"
    commands.train(data, out, steps=4, batch=16, holes=0, init=place / "small")
    shutil.copytree(out, place / "two")
    state = torch.load(place / "two" / "checkpoint.pt", weights_only=True)
    state["config"]["batch"] = 8
    torch.save(state, place / "two" / "checkpoint.pt")
    assert two(place, "--steps", "8", "--batch", "8").count("resumed") == 1
    commands.train(data, out, steps=8, batch=16, holes=0, init=place / "small")
    found, expected = curve(place / "two"), curve(place / "one")
    assert [row["step"] for row in found] == [row["step"] for row in expected] == ["4", "8"]
    assert float(found[1]["loss"]) == pytest.approx(float(expected[1]["loss"]), rel=0.002)
    levels = [name for name in expected[1] if name[0].isdigit()]
    assert len(levels) == 6
    for name in levels:
        assert float(found[1][name]) == pytest.approx(float(expected[1][name]), abs=0.05)
    one = weights(place / "one")
    for name, weight in weights(place / "two").items():
        error = (weight.float() - one[name].float()).norm()
        assert error < 0.02 * one[name].float().norm().clamp_min(1), name


def test_each_process_has_its_rows_of_the_batch(tmp_path: Path) -> None:
    """Together the parts are the crops that one process would draw."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = Photographs([tmp_path])
    whole, _ = images.batch(np.random.default_rng(1), 6, 8)
    parts = [
        images.batch(np.random.default_rng(1), 6, 8, rows=slice(2 * k, 2 * k + 2))[0]
        for k in range(3)
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert Processes(Rank(number=1, size=3)).rows(4) == slice(4, 8)
