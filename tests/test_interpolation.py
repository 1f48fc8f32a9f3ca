"""Between two pictures: the ends are the pictures, and the middle is as likely as they are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import random
from PIL import Image

import diffprior
from diffprior.images import ImageError
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.walks import slerp

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def gaussian() -> MixturePrior:
    one = torch.ones(1, dtype=torch.float64)
    return MixturePrior(one, torch.zeros(1, *SHAPE, dtype=torch.float64), 0.04 * one)


@pytest.fixture(scope="module")
def ends(gaussian: MixturePrior) -> torch.Tensor:
    return (gaussian.sample(Noise(3, [0, 1])) + 1) / 2


def test_the_middle_has_the_norm_of_a_draw(gaussian, ends) -> None:
    """Draws have norms of 0.2 sqrt(768), as have all frames; on the straight line 0.71 of it."""
    frames = diffprior.interpolate(ends[0], ends[1], prior=gaussian, samples=5, steps=40).samples
    norms = torch.stack([(2 * f - 1).norm() for f in frames]) / (0.2 * 768**0.5)
    straight = (2 * (ends[0] + ends[1]) / 2 - 1).norm() / (0.2 * 768**0.5)
    assert (norms - 1).abs().max() < 0.08
    assert straight < 0.77


def test_the_ends_are_the_round_trips(gaussian, ends) -> None:
    seen: list[float] = []
    settings = {"samples": 4, "steps": 40, "watch": lambda x, done: seen.append(done)}
    frames = diffprior.interpolate(ends[0], ends[1], prior=gaussian, **settings).samples
    assert seen == sorted(seen) and len(seen) == 40 and seen[-1] == 1
    assert (frames[0] - ends[0]).abs().max() < 0.01 and (frames[-1] - ends[1]).abs().max() < 0.01
    steps = [float((a - b).norm()) for a, b in zip(frames, frames[1:], strict=False)]
    assert max(steps) < 1.05 * min(steps)  # an arc is walked at one speed


def test_slerp_is_the_arc() -> None:
    """Against the plane rotation from a to the part of b that is perpendicular to it."""
    a, b = random(2, 1, 50, seed=1)
    b = b / b.norm() * a.norm()
    e = b - (a * b).sum() / (a * a).sum() * a
    e, w = e / e.norm() * a.norm(), torch.acos((a * b).sum() / (a.norm() * b.norm()))
    for k in (0.0, 0.3, 0.5, 1.0):
        share = torch.tensor(k, dtype=torch.float64).reshape(1, 1)
        torch.testing.assert_close(slerp(a, b, share), (k * w).cos() * a + (k * w).sin() * e)
    torch.testing.assert_close(slerp(a, a, share / 2), a)


def test_the_command_writes_the_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        picture = rng.integers(80, 160, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(picture).resize((32, 32)).save(tmp_path / f"{name}.png")
    call = ["interpolate", "a.png", "--to", "b.png", "--samples", "3", "--steps", "12", "-q"]
    call = [sys.executable, "-m", "diffprior", *call, "-o", "out.png"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    a, first, b, last = (
        np.asarray(Image.open(tmp_path / f"{n}.png")).astype(float)
        for n in ("a", "out-1", "b", "out-3")
    )
    assert np.abs(a - first).mean() < 3 and np.abs(b - last).mean() < 3
    assert (tmp_path / "out-2.png").exists()


def test_another_size_is_one_sentence(gaussian, ends) -> None:
    with pytest.raises(
        ImageError, match=r"own size, 16x16, one for all or one for each; got 1 of 8x8"
    ):
        diffprior.interpolate(ends[0], torch.zeros(3, 8, 8), prior=gaussian)
