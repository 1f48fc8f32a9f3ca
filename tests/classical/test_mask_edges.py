"""Masks whose holes grow, or get a soft edge."""

from collections.abc import Callable

import pytest
import torch

from diffprior.classical.mask_edges import dilate, feather


@pytest.mark.parametrize("pixels", [1, 5, 13])
def test_dilate_grows_by_a_disc(pixels: int) -> None:
    """Of hard masks and of soft ones."""
    hard = (torch.rand(2, 1, 40, 50, generator=torch.Generator().manual_seed(0)) > 0.995).float()
    at, there = torch.cartesian_prod(torch.arange(40), torch.arange(50)), hard[0, 0].nonzero()
    near = torch.cdist(at.double(), there.double()).amin(1).reshape(40, 50) <= pixels
    assert torch.equal(dilate(hard, pixels)[0, 0], near.float())
    assert torch.equal(dilate(hard / 2, pixels), dilate(hard, pixels) / 2)


def test_dilate_leaves_the_rest() -> None:
    mask = torch.zeros(2, 1, 11, 11)
    mask[1, 0, 5, 5] = 1
    assert torch.equal(dilate(mask, 0), mask)
    grown = dilate(mask, 3)
    assert grown[0].sum() == 0 and grown[1, 0, 5].tolist() == [0] * 2 + [1] * 7 + [0] * 2
    assert grown[1, 0, 2, 5] == grown[1, 0, 8, 5] == 1 and grown[1, 0, 2, 2] == 0
    assert mask.sum() == 1


@pytest.mark.parametrize("soft", [dilate, feather])
def test_an_empty_mask_stays_empty(soft: Callable[[torch.Tensor, int], torch.Tensor]) -> None:
    assert soft(torch.zeros(1, 1, 7, 7), 3).sum() == 0


def test_feather_falls_linearly_outside_the_hole() -> None:
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 4:6] = 1
    assert torch.equal(feather(mask, 0), mask)
    ramp = feather(mask, 3)[0, 0, 4]
    torch.testing.assert_close(ramp, torch.tensor([0, 0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]))
    corner = torch.zeros(1, 1, 9, 9)
    corner[..., 4, 4] = 1
    assert feather(corner, 9)[0, 0, 7, 8].item() == pytest.approx(0.5)


def test_a_radius_beyond_the_image_covers_what_has_a_hole() -> None:
    mask = torch.zeros(2, 1, 8, 9)
    mask[1, 0, 0, 0] = 0.5
    grown = dilate(mask, 100_000)
    assert (grown[0] == 0).all() and (grown[1] == 0.5).all() and grown.shape == mask.shape
