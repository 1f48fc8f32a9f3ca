"""Copies of known pixels that complete a hole."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from diffprior.exemplar.levels import Level
from diffprior.exemplar.matching import Matching
from diffprior.exemplar.matching import match as matched


def hole(size: int, top: int, left: int, height: int, width: int) -> Tensor:
    area = torch.zeros(size, size, dtype=torch.bool)
    area[top : top + height, left : left + width] = True
    return area


def tiles(size: int, period: int, seed: int = 0) -> Tensor:
    """Return an image ``(3, size, size)`` of one random tile, again and again."""
    tile = torch.rand(3, period, period, generator=torch.Generator().manual_seed(seed))
    count = -(-size // period)
    return tile.repeat(1, count, count)[:, :size, :size]


def noise(size: int, seed: int = 0) -> Tensor:
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed))


class Match(NamedTuple):
    sources: Tensor
    image: Tensor


def match(image: Tensor, area: Tensor, seed: int = 0) -> Match:
    sources = matched(Level.of(image, area), torch.Generator().manual_seed(seed))
    return Match(sources, image[:, sources[..., 0], sources[..., 1]])


@pytest.mark.parametrize("period", [8, 16])
def test_what_repeats_is_completed_exactly(period: int) -> None:
    image, area = tiles(96, period), hole(96, 30, 37, 22, 28)
    out = match(image.masked_fill(area, 0), area)
    assert torch.equal(out.image, image)


def test_each_lost_pixel_is_a_copy_of_a_known_one() -> None:
    image, area = noise(80), hole(80, 20, 30, 30, 25)
    out = match(image, area)
    row, column = out.sources.unbind(2)
    assert not area[row, column].any()
    assert torch.equal(out.image, image[:, row, column])


def test_a_known_pixel_is_its_own_source() -> None:
    image, area = noise(64), hole(64, 20, 20, 20, 20)
    out = match(image, area)
    assert torch.equal(out.sources[~area], (~area).nonzero())
    assert torch.equal(out.image[:, ~area], image[:, ~area])


@pytest.mark.parametrize("value", [0.0, 1.0, -5.0, float("nan"), float("inf")])
def test_what_is_in_the_hole_does_not_matter(value: float) -> None:
    image, area = noise(64), hole(64, 20, 20, 21, 24)
    expected = match(image, area)
    out = match(image.masked_fill(area, value), area)
    assert torch.equal(out.sources, expected.sources)


def test_a_seed_gives_the_same_fill_again() -> None:
    image, area = noise(96), hole(96, 24, 24, 40, 40)
    first, again, other = (match(image, area, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.sources, again.sources)
    assert not torch.equal(first.sources, other.sources)


def test_the_stream_of_torch_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    match(noise(48), hole(48, 16, 16, 12, 12))
    assert torch.equal(torch.rand(4), expected)


def test_an_edge_that_meets_the_hole_on_both_sides_goes_on() -> None:
    image = torch.zeros(3, 96, 96)
    image[:, 47:] = 1
    area = hole(96, 32, 36, 30, 24)
    out = match(image.masked_fill(area, 0.5), area)
    assert torch.equal(out.image, image)


def test_a_hole_takes_the_texture_around_it() -> None:
    image = torch.full((3, 96, 96), 0.5)
    rough = 0.4 * (noise(96) - 0.5)
    image[:, :, 48:] += rough[:, :, 48:]
    area = hole(96, 36, 60, 24, 24)
    out = match(image, area)
    spread = out.image[:, area].std() / image[:, area].std()
    assert 0.85 < spread < 1.15


def test_a_hole_at_the_corner_is_filled() -> None:
    image, area = tiles(64, 8), hole(64, 0, 0, 18, 20)
    out = match(image.masked_fill(area, 0), area)
    assert not area[out.sources[..., 0], out.sources[..., 1]].any()
    assert (out.image - image).abs().mean() < 0.02


def test_nothing_lost_is_nothing_changed() -> None:
    image = noise(40)
    out = match(image, hole(40, 0, 0, 0, 0))
    assert torch.equal(out.image, image)


def test_one_channel_is_filled() -> None:
    gray, area = tiles(96, 8)[:1], hole(96, 40, 40, 12, 14)
    out = match(gray.masked_fill(area, 0), area)
    assert torch.equal(out.image, gray)


def test_an_image_of_odd_sides_is_filled() -> None:
    image = tiles(99, 8)[:, :, :83]
    area = hole(99, 40, 35, 23, 21)[:, :83]
    out = match(image.masked_fill(area, 0), area)
    assert torch.equal(out.image, image)


def test_an_image_without_a_known_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="no 5 x 5 pixels are known together"):
        match(noise(20), hole(20, 2, 2, 16, 16))


def test_only_what_is_known_is_copied() -> None:
    image, area = tiles(80, 8), hole(80, 30, 10, 20, 20)
    known = ~area
    known[:, 45:] = False
    level = Level.of(image.masked_fill(~known, 0), area, known)
    sources = matched(level, torch.Generator().manual_seed(0))
    row, column = sources[area].unbind(1)
    assert known[row, column].all()
    assert torch.equal(image[:, row, column], image[:, area])


def test_the_nearest_of_equal_patches_are_copied() -> None:
    image, area = tiles(160, 8), hole(160, 70, 70, 20, 20)
    sources = matched(Level.of(image, area), torch.Generator().manual_seed(0))
    away = (sources[area] - area.nonzero()).float().norm(dim=1)
    anywhere = matched(Level.of(image, area), torch.Generator().manual_seed(0), Matching(near=0.0))
    farther = (anywhere[area] - area.nonzero()).float().norm(dim=1)
    assert away.mean() < 40
    assert away.mean() < farther.mean()


def test_a_deep_hole_takes_the_best_cover() -> None:
    """In the middle the weights are below the least number, 16 ** -40, and yet have an order."""
    image, area = tiles(160, 8), hole(160, 40, 40, 80, 80)
    level = Level.of(image.masked_fill(area, 0), area)
    sources = matched(level, torch.Generator().manual_seed(0), Matching(trust=16.0))
    row, column = sources[area].unbind(1)
    assert (image[:, row, column] == image[:, area]).all(0).float().mean() > 0.99


def test_half_of_the_image_may_be_left_out_at_random() -> None:
    level = Level.of(noise(96), hole(96, 30, 30, 36, 36))
    first, again, other = (
        matched(level, torch.Generator().manual_seed(seed), vary=True) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert (first != other).any(2)[level.hole].float().mean() > 0.5
