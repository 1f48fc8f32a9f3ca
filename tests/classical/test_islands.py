"""Holes near each other are one island, and those far apart are not."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from diffprior.classical.islands import Island, islands


def rebuilt(found: list[Island], shape: tuple[int, int]) -> torch.Tensor:
    """The number of islands that claim each pixel."""
    count = torch.zeros(shape, dtype=torch.int64)
    for island in found:
        count[island.rows, island.columns] += island.hole
    return count


@pytest.mark.parametrize("margin", [0, 3, 8, 20])
@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_of_a_hole_is_of_one_island(margin, seed):
    hole = torch.from_numpy(np.random.default_rng(seed).random((83, 61)) > 0.995)
    found = islands(hole, margin)
    assert rebuilt(found, (83, 61)).equal(hole.long())
    for island in found:
        assert island.hole.any(0)[[0, -1]].all() and island.hole.any(1)[[0, -1]].all()
    tops = [(island.rows.start, island.columns.start) for island in found]
    assert tops == sorted(tops)


@pytest.mark.parametrize("margin", [0, 1, 4, 7])
def test_small_margins_are_exact(margin):
    hole = np.random.default_rng(0).random((60, 70)) > 0.99
    square = np.ones((2 * margin + 1, 2 * margin + 1), bool)
    _, count = ndimage.label(ndimage.binary_dilation(hole, square), np.ones((3, 3)))
    assert len(islands(torch.from_numpy(hole), margin)) == count


@pytest.mark.parametrize(("gap", "count"), [(10, 1), (63, 1), (82, 2), (100, 2)])
def test_wide_margins_are_exact_up_to_a_quarter(gap, count):
    for place in range(9):
        hole = torch.zeros(40, 300, dtype=torch.bool)
        hole[10:20, 20 + place : 25 + place] = True
        hole[12:14, 25 + place + gap : 30 + place + gap] = True
        assert len(islands(hole, 32)) == count


def test_an_empty_mask_has_no_islands():
    assert islands(torch.zeros(20, 20, dtype=torch.bool), 5) == []
