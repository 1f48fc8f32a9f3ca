"""Between two images: the ends are the images, and the middle is as likely as they are."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

import diffprior
from diffprior.cli.batch import Options, run
from diffprior.editing.chains import slerp
from diffprior.io import animations
from diffprior.io.arrays import ImageError
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise

from support import shell
from support.exact import random

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
    settings = {"samples": 4, "steps": 40, "callback": lambda x, done: seen.append(done)}
    frames = diffprior.interpolate(ends[0], ends[1], prior=gaussian, **settings).samples
    up, down = 2 * 40, 4 * 40  # steps
    assert seen == sorted(seen) and len(seen) == up + down and seen[up - 1] == 0.5 and seen[-1] == 1
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
        image = rng.integers(80, 160, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(image).resize((32, 32)).save(tmp_path / f"{name}.png")
    call = ["interpolate", "a.png", "--to", "b.png", "--samples", "3", "--steps", "12", "-q"]
    done = shell.texts(*call, "-o", "out.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    a, first, b, last = (
        np.asarray(Image.open(tmp_path / f"{n}.png")).astype(float)
        for n in ("a", "out-1", "b", "out-3")
    )
    assert np.abs(a - first).mean() < 3 and np.abs(b - last).mean() < 3
    assert (tmp_path / "out-2.png").exists()


def frames(file: Path | BytesIO) -> tuple[list[np.ndarray], set[float]]:
    """Return the frames of a film, and how long they are shown."""
    with Image.open(file) as film:
        assert film.info["loop"] == 0
        shown = [frame.copy() for frame in ImageSequence.Iterator(film)]
    return [np.asarray(f.convert("RGB")) for f in shown], {f.info["duration"] for f in shown}


def test_the_command_writes_a_film_of_the_frames(tmp_path: Path) -> None:
    """To and fro: 1 2 3 2, in the colors of the frames alone."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        image = rng.integers(80, 160, (4, 4, 3)).astype(np.uint8)
        Image.fromarray(image).resize((32, 32)).save(tmp_path / f"{name}.png")
    settings = {"to": tmp_path / "b.png", "samples": 3, "steps": 3}
    image = [str(tmp_path / "a.png")]
    for name in ("out.apng", "out.gif", "out.png"):
        options = Options(output=str(tmp_path / name), quiet=True)
        assert run(diffprior.interpolate, image, settings, options) == 0
    alone = [np.asarray(Image.open(tmp_path / f"out-{k}.png")) for k in (1, 2, 3, 2)]
    (film, times), (small, _) = (frames(tmp_path / f"out.{kind}") for kind in ("apng", "gif"))
    assert len(film) == len(small) == 4 and times == {100.0}
    assert all(np.array_equal(a, b) for a, b in zip(film, alone, strict=True))
    off = [np.abs(a.astype(float) - b).mean() for a, b in zip(small, alone, strict=True)]
    assert max(off) < 4 and np.unique(np.stack(small).reshape(-1, 3), axis=0).shape[0] <= 256
    with Image.open(tmp_path / "out.gif") as gif, Image.open(tmp_path / "out.apng") as png:
        assert json.loads(json.loads(gif.info["comment"])["diffprior"])["task"] == "interpolate"
        assert json.loads(png.text["diffprior"])["samples"] == 3


def test_films_of_gray_and_of_one_frame_and_what_is_none(tmp_path: Path, capsys) -> None:
    gray = [np.full((4, 6, 1), level, np.uint8) for level in (0, 90, 200)]
    for suffix in animations.SUFFIXES:
        shown, _ = frames(BytesIO(animations.encode(gray, suffix, {})))
        assert [int(f[0, 0, 0]) for f in shown] == [0, 90, 200, 90]
        with Image.open(BytesIO(animations.encode(gray[:1], suffix, {}))) as film:
            assert film.n_frames == 1
    with pytest.raises(ImageError, match=r"uint16 values do not fit into \.gif; uint8 does"):
        animations.encode([gray[0].astype(np.uint16)], ".gif", {})
    options = Options(output=str(tmp_path / "x.gif"), quiet=True)
    assert run(diffprior.variations, ["a.png"], {"samples": 2}, options) == 2
    assert "x.gif is no file of this kind" in capsys.readouterr().err


def test_another_size_is_one_sentence(gaussian, ends) -> None:
    with pytest.raises(
        ImageError, match=r"own size, 16x16, one for all or one for each; got 1 of 8x8"
    ):
        diffprior.interpolate(ends[0], torch.zeros(3, 8, 8), prior=gaussian)
