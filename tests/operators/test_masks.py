"""Masks: the same for the same seed, of the share that they say, of any size."""

import cv2
import numpy as np
import pytest
import torch

from diffprior.operators.generators.masks import KINDS, blob, box, draw, pixels, scratches, strokes

SHARES = {
    "pixels50": (0.48, 0.52),
    "pixels80": (0.78, 0.82),
    "scratches": (0.08, 0.14),
    "text": (0.05, 0.25),
    "strokes": (0.18, 0.30),
    "blob": (0.02, 0.11),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def test_every_kind_has_its_share_here() -> None:
    assert set(SHARES) == set(KINDS)


@kinds
@pytest.mark.parametrize("seed", range(5))
def test_share_of_what_is_lost(kind: str, seed: int) -> None:
    """256 x 256 pixels: a share of random pixels has a standard error of 0.002."""
    low, high = SHARES[kind]
    assert low <= draw(kind, 256, 256, seed).double().mean() <= high


@kinds
def test_same_seed_same_mask(kind: str) -> None:
    a, b, c = (draw(kind, 128, 96, seed) for seed in (3, 3, 4))
    assert torch.equal(a, b) and not torch.equal(a, c)


@kinds
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (301, 77)], ids=str)
def test_shape_and_dtype(kind: str, size: tuple[int, int]) -> None:
    mask = draw(kind, *size, seed=0)
    assert mask.shape == (1, *size) and mask.dtype == torch.bool and 0 < mask.sum() < mask.numel()


@kinds
def test_all_of_the_image_is_in_reach(kind: str) -> None:
    """Over 30 seeds every quarter of a wide image is hit, and none is hit always."""
    share = torch.stack([draw(kind, 64, 128, seed) for seed in range(30)]).double().mean(0)[0]
    for part in share.reshape(2, 32, 2, 64).permute(0, 2, 1, 3).reshape(4, -1):
        assert 0.02 < part.mean() < 0.98


def test_kinds_are_not_each_others_masks() -> None:
    drawn = [draw(kind, 64, 64, 0) for kind in KINDS]
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


def test_pixels_are_lost_alone() -> None:
    """Neighbours of a lost pixel are lost no more often than others: 4 standard errors."""
    mask = pixels(256, 256, 0, 0.3)[0].double()
    both = (mask[:, 1:] * mask[:, :-1]).mean()
    assert abs(both - 0.09) < 4 * (0.09 * 0.91 / mask.numel()) ** 0.5 * 1.5


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_box_is_one_rectangle_of_the_images_shape(share: float) -> None:
    mask = box(120, 200, 7, share)[0]
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    h, w = len(rows), len(columns)
    assert mask.sum() == h * w and abs(h * w / 24_000 - share) < 0.01
    assert abs(h / w - 0.6) < 0.02


@pytest.mark.parametrize("make", [scratches, strokes])
def test_shares_can_be_asked_for(make) -> None:
    for share in (0.05, 0.4):
        assert share <= make(256, 256, 0, share).double().mean() < share + 0.1


def test_a_blob_is_one_hole_of_the_asked_diameter() -> None:
    """The area of a blob is that of its circle in the mean of 40 seeds, to 10%; it is no circle."""
    areas, aspects = [], []
    for seed in range(40):
        mask = blob(200, 300, seed, 0.3, 0.3)[0]
        count, _ = cv2.connectedComponents(mask.numpy().astype(np.uint8))
        assert count == 2 and not mask[0].any() and not mask[:, 0].any()
        areas.append(mask.sum().item())
        aspects.append(mask.any(0).sum().item() / mask.any(1).sum().item())
    assert np.mean(areas) == pytest.approx(np.pi * 30**2, rel=0.1)
    assert np.std(np.log(aspects)) > 0.05


def test_the_diameter_of_a_blob_is_in_its_range() -> None:
    sides = [2 * (blob(128, 256, seed).sum().item() / np.pi) ** 0.5 / 128 for seed in range(60)]
    assert 0.15 < min(sides) < 0.2 and 0.31 < max(sides) < 0.38
