"""Thin holes in large images, box by box."""

import subprocess
import sys
from functools import partial

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
    for name, value in {"CELLS": (64,), "MARGIN": 16, "LEAST_SIDE": 64, "WHOLE": 96**2}.items():
        monkeypatch.setattr(boxes, name, value)


def photo() -> np.ndarray:
    with Image.open(PHOTO) as image:
        return np.asarray(image.convert("RGB").crop((0, 0, SIDE, SIDE)))


def scratch() -> np.ndarray:
    """A line across five cells, and a speck in the far corner."""
    y, x = np.mgrid[:SIDE, :SIDE]
    mask = np.where(np.abs(y - 0.9 * x - 10) < 1.5, np.uint8(255), np.uint8(0))
    mask[6:12, 170:176] = 255
    return mask


def spots() -> np.ndarray:
    """Two specks in two corners."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[6:16, 170:178] = mask[170:180, 10:18] = 255
    return mask


def damaged(mask: np.ndarray | None = None) -> np.ndarray:
    mask = scratch() if mask is None else mask
    return np.where(mask[..., None] > 0, np.uint8(255), photo())


def psnr(image: np.ndarray) -> float:
    error = (image.astype(float) - photo())[scratch() > 0]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def test_a_scratch_is_filled_as_well_as_in_the_whole(small, monkeypatch):
    shares = []
    cut = diffprior.inpaint(
        damaged(), scratch(), steps=6, callback=lambda x, share: shares.append(share)
    )
    assert cut.report["boxes"] == 6 and cut.report["network_calls"] == 6 * 6
    assert shares == sorted(shares) and len(shares) == 36 and shares[-1] == 1
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
    assert done.report["boxes"] == 6 and (after[..., 3] == 255).all()
    assert psnr(after[..., :3]) > 20


@pytest.mark.parametrize("case", ["noise", "thick", "small"])
def test_what_boxes_do_not_fit_is_solved_as_a_whole(small, case):
    image, mask = damaged(), scratch()
    if case == "thick":
        image, mask = image[:104, :104], np.zeros((104, 104), np.uint8)
        mask[4:-4, 4:-4] = 255
    if case == "small":
        mask[64:], mask[:12] = 0, 0
    settings = {"sigma": 0.1} if case == "noise" else {}
    done = diffprior.inpaint(image, mask, steps=1, **settings)
    assert "boxes" not in done.report


def test_spots_far_apart_have_boxes_of_their_own(small):
    mask = spots()
    both = diffprior.inpaint(damaged(mask), mask, steps=2, ids=["a"])
    assert both.report["boxes"] == 2 and both.report["network_calls"] == 4
    known = mask == 0
    assert np.array_equal(both.image[known], damaged(mask)[known])
    one = np.where(np.arange(SIDE)[:, None] < 96, mask, 0)
    alone = diffprior.inpaint(damaged(mask), one, steps=2, ids=["a 0"])  # as the first box is named
    assert "boxes" not in alone.report
    assert np.array_equal(both.image[one > 0], alone.image[one > 0])


def test_samples_in_boxes_differ_and_are_the_same_in_any_company(small):
    draw = partial(diffprior.inpaint, steps=1, samples=2, ids=["a"])
    first = draw(damaged(), scratch())
    assert first.report["boxes"] == 6 and first.report["samples"] == 2
    assert first.report["network_calls"] == 2 * 6 * calls_of_one_box()
    hole = scratch() > 0
    for sample in first.samples:
        assert np.array_equal(sample[~hole], damaged()[~hole])
    lost = torch.from_numpy(hole)[None, None]
    for box in boxes.boxes_of(lost, lost, torch.zeros_like(lost))[0]:
        a, b = (box.cell.cut(torch.from_numpy(s).movedim(-1, 0)) for s in first.samples)
        assert not a.equal(b)
    states = np.stack(first.samples) / 255
    assert np.abs(first.std - states.std(0, ddof=1)).max() < 1e-6
    assert np.abs(first.mean / 255 - states.mean(0)).max() <= 0.5 / 255 + 1e-6
    x = torch.from_numpy(np.stack([damaged()[::-1].copy(), damaged()])).movedim(-1, 1)
    mask = torch.from_numpy(np.stack([scratch()[::-1].copy(), scratch()]))[:, None]
    both = draw(x, mask, ids=["b", "a"])
    for j in range(2):
        assert np.array_equal(both.samples[j][1].movedim(0, -1).numpy(), first.samples[j])
    box = first_box(hole)
    other = diffprior.inpaint(damaged(), box, steps=1, samples=2, ids=["a 0"], seed=1)
    assert not np.array_equal(other.image[box], first.image[box])


def test_a_method_of_one_result_fills_one_canvas_for_all_samples(small):
    method = "dpir(start=0.15, steps=2)"
    two = diffprior.inpaint(damaged(), scratch(), samples=2, method=method)
    one = diffprior.inpaint(damaged(), scratch(), method=method)
    assert two.report["samples"] == 1 and two.report["network_calls"] == 6 * 2
    assert all(np.array_equal(sample, one.image) for sample in two.samples)
    assert not two.std.any()


def calls_of_one_box() -> int:
    """The network calls of one sample of one step, as in a small image."""
    mask = spots()[:96, 96:]
    done = diffprior.inpaint(damaged(spots())[:96, 96:], mask, steps=1, samples=2)
    return int(done.report["network_calls"]) // 2


def first_box(hole: np.ndarray) -> np.ndarray:
    """The part of a hole that is filled first."""
    lost = torch.from_numpy(hole)[None, None]
    box = boxes.boxes_of(lost, lost, torch.zeros_like(lost))[0][0]
    part = np.zeros_like(hole)
    part[box.cell.rows, box.cell.columns] = box.hole
    return part


@pytest.mark.parametrize("samples", [1, 2])
def test_one_hole_of_a_large_image_is_filled_as_that_of_a_small_one(small, monkeypatch, samples):
    """It is the same window, and no more of the image is copied."""
    mask = np.where(np.arange(SIDE)[:, None] < 96, spots(), 0)
    fill = partial(diffprior.inpaint, damaged(mask), mask, steps=1, samples=samples, ids=["a"])
    large = fill()
    monkeypatch.setattr(boxes, "WHOLE", SIDE**2)
    whole = fill()
    assert all(np.array_equal(*pair) for pair in zip(large.samples, whole.samples, strict=True))
    assert "boxes" not in large.report and large.report.keys() == whole.report.keys()
    assert large.report["samples"] == whole.report["samples"] == samples
    if samples > 1:
        assert np.abs(large.std - whole.std).max() < 1.5 / 255
        assert np.abs(large.mean.astype(int) - whole.mean).max() <= 1


PEAK = """
import resource, numpy as np, diffprior

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def fill(height, width):
    mask = np.zeros((height, width), np.uint8)
    mask[100:120, 100:120] = mask[-120:-100, -120:-100] = 255
    diffprior.inpaint(np.zeros((height, width, 3), np.uint8), mask, steps=1)

fill(256, 512)
before = peak()
fill(4000, 6000)
print((peak() - before) / 24e6 * 1024)
"""


def test_memory_is_that_of_the_boxes_and_of_few_copies() -> None:
    """Bytes for each pixel: the image twice, the weights of its mask, and a few of one byte."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, check=True, timeout=300
    )
    assert float(done.stdout) < 20


def stroke() -> np.ndarray:
    """A wire of 12 pixels across the image."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.where(np.abs(y - 0.1 * x - 90) < 6, np.uint8(255), np.uint8(0))


def test_a_wide_stroke_across_a_large_image_is_cut_and_a_blob_is_not(small, monkeypatch):
    """Its surroundings would be the whole image; a blob is filled from all round it."""
    y, x = np.mgrid[:SIDE, :SIDE]
    blob = (y - 90) ** 2 + (x - 90) ** 2 < 40**2
    monkeypatch.setattr(boxes, "STROKE", 64)
    monkeypatch.setattr(boxes, "LARGEST", 96**2)
    for mask, least in ((stroke() > 0, 3), (blob, 1)):
        lost = torch.from_numpy(mask)[None, None]
        parts = boxes.boxes_of(lost, lost, lost)[0]
        filled = torch.zeros(SIDE, SIDE, dtype=torch.int)
        for part in parts:
            part.cell.cut(filled)[part.hole] += 1
        assert len(parts) >= least and filled.equal(lost[0, 0].int())
        sides = [max(part.seen.size) for part in parts]
        assert max(sides) <= 64 + 2 * 32 if least > 1 else sides == [SIDE]
    image = damaged(stroke())
    cut = diffprior.inpaint(image, stroke(), fill="structure", method="exemplar(tries=1)")
    assert cut.report["boxes"] == 3
    filled, hole = cut.image.astype(float), stroke() > 0
    assert np.array_equal(cut.image[~hole], image[~hole])
    assert abs(filled[hole].mean() - photo()[hole].mean()) < 20  # 255 before
    assert 0.5 < filled[hole].std() / photo()[hole].std() < 1.5
