"""SDEdit: between faithful and real, and nothing but the hole is touched."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.catalog import SettingError
from diffprior.io.arrays import ImageError
from diffprior.priors.mixture import MixturePrior

from support import shell
from support.exact import random

STRENGTHS = (0.05, 0.15, 0.25, 0.35, 0.5, 0.8)
SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def mixture() -> MixturePrior:
    """Eight flat-ish images with a little noise of their own."""
    means = 0.4 * random(8, 3, 1, 1, seed=1).expand(8, *SHAPE) + 0.1 * random(8, *SHAPE, seed=2)
    one = torch.ones(8, dtype=torch.float64)
    return MixturePrior(one, means, 0.01 * one)


def test_strength_goes_from_faithful_to_real(mixture: MixturePrior) -> None:
    """The distance to the input grows with it, and so does the likelihood under the prior."""
    rough = (0.5 + 0.15 * random(*SHAPE, seed=3)).clamp(0, 1)
    distance, real = [], []
    for strength in STRENGTHS:
        out = diffprior.sdedit(rough, strength=strength, prior=mixture, samples=32, steps=40)
        x = torch.stack(out.samples)
        distance.append(float((x - rough).square().mean().sqrt()))
        real.append(float(mixture.log_prob(2 * x.double() - 1).mean()))
    assert distance == sorted(distance) and real[:4] == sorted(real[:4])
    assert distance[-1] > 1.5 * distance[0]
    free = float(mixture.log_prob(mixture.sample(diffprior.random.Noise(0, [0], 32))).mean())
    assert real[0] < free - 30 and abs(real[-1] - free) < 25


def test_more_rounds_are_further_from_the_image_and_nearer_to_the_prior(mixture) -> None:
    rough = (0.5 + 0.15 * random(*SHAPE, seed=3)).clamp(0, 1)
    outs = [
        diffprior.sdedit(rough, strength=0.1, repeats=k, prior=mixture, samples=16, steps=20)
        for k in (1, 3)
    ]
    near, far = (torch.stack(out.samples) for out in outs)
    assert (far - rough).square().mean() > (near - rough).square().mean()
    real = [mixture.log_prob(2 * x.double() - 1).mean() for x in (near, far)]
    assert real[1] > real[0]
    assert outs[1].report["network_calls"] == 3 * outs[0].report["network_calls"]


def test_a_batch_is_its_images(mixture: MixturePrior) -> None:
    batch = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    settings = {"prior": mixture, "samples": 2, "repeats": 2, "steps": 5, "dtype": "float32"}
    together = diffprior.sdedit(batch, **settings)
    alone = diffprior.sdedit(batch[1], **settings)
    for k in range(2):
        torch.testing.assert_close(together.samples[k][1], alone.samples[k], rtol=0, atol=1e-6)
    assert not torch.equal(alone.samples[0], alone.samples[1])


def test_outside_the_mask_nothing_changes(tmp_path: Path) -> None:
    """By the command, on files: paint on the image, a mask, and the rest bit for bit."""
    rng = np.random.default_rng(0)
    image = rng.integers(80, 160, (48, 64, 3)).astype(np.uint8)
    layer, mask = np.zeros((48, 64, 4), np.uint8), np.zeros((48, 64), np.uint8)
    layer[10:30, 10:30], mask[5:35, 5:35] = (255, 0, 0, 255), 255
    for name, array in (("p", image), ("layer", layer), ("mask", mask)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / f"{name}.png") for name in ("p", "layer", "mask", "out")]
    call = ["sdedit", files[0], "--strokes", files[1], "--mask", files[2], "-o", files[3], "-q"]
    done = shell.texts(*call, "--strength", "0.1", "--steps", "4")
    assert done.returncode == 0, done.stderr
    out, hole = np.asarray(Image.open(files[3])), mask > 0
    assert (out[~hole] == image[~hole]).all()
    red = out[12:28, 12:28].astype(float).mean((0, 1))
    assert red[0] > red[1] + 80 and red[0] > red[2] + 80


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strength": 0.0}, r"^strength lies in \(0, 1\].*got 0.0 and 1"),
        ({"strength": 1.5}, "got 1.5 and 1"),
        ({"repeats": 0}, "repeats are 1 to 1000, got 0.3 and 0"),
        ({"strokes": torch.zeros(3, 8, 8)}, "layer with transparency of the image's own size"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(mixture, settings: dict, words: str) -> None:
    with pytest.raises((SettingError, ImageError), match=words):
        diffprior.sdedit(torch.zeros(SHAPE), prior=mixture, **settings)
