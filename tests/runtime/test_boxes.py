"""Thin holes in large images, box by box."""

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.runtime import boxes

SIDE = 192
PHOTO = "data/samples/city.png"


@pytest.fixture
def small(monkeypatch):
    """Boxes that a small image is cut into, too."""
    for name, value in {"CELL": 64, "MARGIN": 32, "WHOLE": 96**2}.items():
        monkeypatch.setattr(boxes, name, value)


def photo() -> np.ndarray:
    with Image.open(PHOTO) as image:
        return np.asarray(image.convert("RGB").crop((0, 0, SIDE, SIDE)))


def scratch() -> np.ndarray:
    """A line across three cells, and a speck in the far corner."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[40:43] = 255
    mask[170:176, 170:176] = 255
    return mask


def damaged() -> np.ndarray:
    return np.where(scratch()[..., None] > 0, np.uint8(255), photo())


def psnr(image: np.ndarray) -> float:
    error = (image.astype(float) - photo())[scratch() > 0]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def test_a_scratch_is_filled_as_well_as_in_the_whole(small, monkeypatch):
    shares = []
    cut = diffprior.inpaint(
        damaged(), scratch(), steps=6, callback=lambda x, share: shares.append(share)
    )
    assert cut.report["boxes"] == 4 and cut.report["network_calls"] == 4 * 6
    assert shares == sorted(shares) and len(shares) == 24 and shares[-1] == 1
    known = scratch() == 0
    assert np.array_equal(cut.image[known], damaged()[known])
    monkeypatch.setattr(boxes, "WHOLE", SIDE**2 * 4)
    whole = diffprior.inpaint(damaged(), scratch(), steps=6)
    assert "boxes" not in whole.report
    assert psnr(cut.image) > psnr(whole.image) - 0.3
    assert cut.cover.equal(whole.cover)


def test_a_batch_in_boxes_is_its_images_alone(small):
    x = torch.from_numpy(np.stack([damaged(), damaged()[::-1].copy()])).movedim(-1, 1)
    mask = torch.from_numpy(np.stack([scratch(), scratch()[::-1].copy()]))[:, None]
    both = diffprior.inpaint(x, mask, steps=1, ids=["a", "b"])
    for i, name in enumerate("ab"):
        alone = diffprior.inpaint(x[i], mask[i], steps=1, ids=[name])
        assert both.image[i].equal(alone.image)


def test_transparency_is_filled_in_boxes(small):
    rgba = np.dstack([photo(), 255 - scratch()])
    done = diffprior.inpaint(Image.fromarray(rgba), steps=6)
    after = np.asarray(done.image)
    assert done.report["boxes"] == 4 and (after[..., 3] == 255).all()
    assert psnr(after[..., :3]) > 20


@pytest.mark.parametrize("case", ["several", "noise", "thick", "small"])
def test_what_boxes_do_not_fit_is_solved_as_a_whole(small, case):
    mask = scratch()
    if case == "thick":
        mask = np.zeros_like(mask)
        mask[4:-4, 4:-4] = 255
    if case == "small":
        mask[64:] = 0
    settings = {"several": {"samples": 2}, "noise": {"sigma": 0.1}}.get(case, {})
    done = diffprior.inpaint(damaged(), mask, steps=1, **settings)
    assert "boxes" not in done.report
