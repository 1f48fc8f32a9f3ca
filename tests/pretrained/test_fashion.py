"""The shipped prior of classes: what it draws is told as what was asked; edits change it."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import diffprior
from diffprior.pretrained.load import load_prior
from diffprior.priors.network import NetworkPrior

from support import shell

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data" / "fashion"
SANDAL, BOOT = 5, 9


@pytest.fixture(scope="module")
def classes():
    place = str(ROOT / "scripts" / "tables")
    sys.path.insert(0, place)
    module = import_module("classes")
    yield module
    sys.path.remove(place)


@pytest.fixture(scope="module")
def classifier(classes):
    return classes.load(DATA)


@pytest.fixture(scope="module")
def held_out(classes) -> tuple[Tensor, Tensor]:
    """200 test images, 20 of each class, and their classes."""
    with np.load(DATA / "pictures.npz") as file:
        return classes.states(file["x"]), torch.from_numpy(file["y"]).long()


def prior() -> NetworkPrior:
    found = load_prior("fashion")
    assert isinstance(found, NetworkPrior)
    return found


def test_the_classifier_tells_the_kept_images(classifier, held_out) -> None:
    x, y = held_out
    assert x.shape == (200, 1, 28, 28) and y.bincount().tolist() == [20] * 10
    assert (classifier(x).argmax(1) == y).double().mean() > 0.86


def test_samples_are_of_their_class(classes, classifier) -> None:
    """Two of each class at guidance 3: as good as all are told right."""
    model = prior()
    told = [
        (classifier(classes.drawn(model, label, 3.0, 2)).argmax(1) == label).sum()
        for label in range(10)
    ]
    assert sum(told) >= 18, told


def test_a_class_helps_to_denoise(held_out) -> None:
    """Through much noise, the right class brings E[x_0 | x_t] nearer than none or a wrong one."""
    x, y = (part[::2] for part in held_out)
    model = prior()
    t = model.diffusion.schedule.time(torch.tensor(2.0, dtype=torch.float64))
    alpha, sigma = model.diffusion.schedule(t)
    x_t = (alpha * x + sigma * torch.randn(x.shape, generator=torch.manual_seed(0))).float()

    def error(shift: int | None) -> float:
        parts = [
            model.for_label(None if shift is None else (c + shift) % 10)(x_t[y == c], t) - x[y == c]
            for c in range(10)
        ]
        return float(torch.cat(parts).square().mean())

    assert error(0) < 0.9 * error(None) and error(None) < error(5)


def test_a_sandal_becomes_a_boot(held_out, classifier) -> None:
    """Inverted under its class, read back under another; under its own it comes back."""
    x = held_out[0][held_out[1] == SANDAL][:6]
    gray = ((x + 1) / 2).expand(-1, 3, -1, -1)
    way = {"inversion": "edit_friendly(steps=20)", "strength": 0.45, "source_label": SANDAL}
    common = {"prior": "fashion", "ids": list(range(6))}
    back = diffprior.edit(gray, **way, **common).image
    assert (back - gray).abs().max() < 0.02
    boots = diffprior.edit(gray, **way, **common, label=BOOT, guidance_scale=3.0).image
    told = classifier(2 * boots[:, :1] - 1).argmax(1)
    assert (told == BOOT).sum() >= 4, told
    assert (boots - gray).abs().mean() > 0.02


def test_the_command(tmp_path: Path, held_out) -> None:
    """A gray file of 28 x 28 in, a boot out; a class that there is not is one sentence."""
    x = held_out[0][held_out[1] == SANDAL][0, 0]
    Image.fromarray(((x + 1) * 127.5).round().byte().numpy()).save(tmp_path / "sandal.png")
    call = ["edit", "sandal.png", "--prior", "fashion"]
    call += ["--inversion", "edit_friendly(steps=6)", "--source-label", "5", "-o", "boot.png"]
    done = shell.texts(*call, "--label", "9", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "boot.png") as boot:
        assert boot.size == (28, 28)
    done = shell.texts(*call, "--force", "--label", "10", folder=tmp_path)
    assert done.returncode == 2
    assert "label is one of 0 ... 9, got 10" in done.stderr and done.stderr.count("\n") == 1
