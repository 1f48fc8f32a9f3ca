"""Wide holes filled with copies: exact where the image repeats, honest about what is known."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from torch import Tensor

import diffprior.exemplar.shift_map as shift_map_module
from diffprior.exemplar.blend import blend
from diffprior.exemplar.completion import TRIES, complete
from diffprior.exemplar.judge import fault, rarity, unlikeness
from diffprior.exemplar.labeling import Energy
from diffprior.exemplar.levels import Level, coordinates, depth, levels, nearest
from diffprior.exemplar.matching import Matching, match
from diffprior.exemplar.offsets import dominant_offsets, some_offsets
from diffprior.exemplar.references import locate
from diffprior.exemplar.shift_map import ShiftMap, copied, shift_map

PERIOD = 8


def tiles(height: int = 96, width: int = 96) -> Tensor:
    """A pattern that repeats every eight pixels in both directions."""
    tile = torch.rand(3, PERIOD, PERIOD, generator=torch.Generator().manual_seed(3))
    return tile.repeat(1, -(-height // PERIOD), -(-width // PERIOD))[:, :height, :width]


def disc(size: int, radius: float, at: tuple[int, int] | None = None) -> Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    cy, cx = at or (size // 2, size // 2)
    return (y - cy) ** 2 + (x - cx) ** 2 < radius**2


def photo(name: str = "grass", side: int = 160) -> Tensor:
    with Image.open(f"data/samples/{name}.png") as image:
        values = np.asarray(image.convert("RGB").crop((0, 0, side, side)))
    return torch.from_numpy(values.copy()).permute(2, 0, 1) / 255


@pytest.mark.parametrize("tries", [2, 4])
def test_a_pattern_that_repeats_goes_on(tries: int) -> None:
    image, hole = tiles(), disc(96, 18)
    filled = complete(torch.where(hole, 0.5, image), hole, tries=tries)
    assert (filled - image).abs().max() < 1e-4


def test_what_is_known_stays_and_what_is_lost_does_not_matter() -> None:
    image, hole = photo(), disc(160, 25)
    one = complete(image, hole, tries=2)
    other = complete(torch.where(hole, torch.nan, image).nan_to_num(7.0), hole, tries=2)
    assert torch.equal(one, other)
    assert torch.equal(one[:, ~hole], image[:, ~hole])


def test_a_seed_is_a_fill() -> None:
    image, hole = photo("flowers"), disc(160, 25)
    fills = [complete(image, hole, tries=1, seed=seed) for seed in (0, 0, 1, 2)]
    assert torch.equal(fills[0], fills[1])
    lost = [fill[:, hole] for fill in fills[1:]]
    assert min((a - b).abs().mean() for a, b in zip(lost, lost[1:], strict=False)) > 0.02


def test_every_setting_copies_known_pixels() -> None:
    image, hole = photo("city"), disc(160, 24, (60, 90))
    level = Level.of(image, hole)
    generator = torch.Generator().manual_seed(0)
    for setting in (t.setting for t in TRIES if isinstance(t.setting, ShiftMap)):
        pyramid = levels(level, setting.deepest)
        sources = shift_map(pyramid, dominant_offsets(pyramid[-1], 60, generator), setting)
        assert not hole[sources[..., 0], sources[..., 1]].any()
        grid = torch.stack(torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij"), -1)
        assert torch.equal(sources[~hole], grid[~hole])


def test_a_pixel_that_is_not_known_is_never_copied() -> None:
    """A red stripe is neither to be filled nor known; nothing of it is in the fill."""
    image, hole = tiles(), disc(96, 16)
    image[:, :, 70:80] = torch.tensor([9.0, 0.0, 0.0])[:, None, None]
    known = torch.ones(96, 96, dtype=torch.bool)
    known[:, 70:80] = False
    filled = complete(image, hole, known=known, tries=4)
    assert (filled - tiles())[:, hole].abs().max() < 1e-3
    assert torch.equal(filled[:, ~hole], image[:, ~hole])


def test_another_image_of_the_scene_is_copied_from() -> None:
    """The mark in the hole is nowhere else in the image, and in the reference only."""
    whole = photo("city")
    hole = disc(160, 26, (80, 80))
    lost = torch.where(hole, 0.0, whole)
    alone = complete(lost, hole, tries=2)
    helped = complete(lost, hole, tries=2, references=[locate(lost, hole, whole)])
    exact = [((x - whole).abs().amax(0)[hole] < 1 / 255).float().mean() for x in (alone, helped)]
    assert exact[0] < 0.3
    assert exact[1] > 0.99


def test_a_gray_image_and_a_smaller_reference() -> None:
    image, hole = photo().mean(0, keepdim=True), disc(160, 24)
    other = locate(image, hole, image[:, :90, :70])
    filled = complete(image, hole, tries=2, references=[other])
    assert filled.shape == image.shape
    assert torch.isfinite(filled).all()


def test_two_holes_far_apart_are_filled_as_each_alone() -> None:
    image = photo("grass", 500)
    first, second = disc(500, 24, (60, 60)), disc(500, 24, (430, 440))
    both = complete(image, first | second, tries=1, seed=4)
    for hole in (first, second):
        alone = complete(image, hole, tries=1, seed=4)
        assert torch.equal(both[:, hole], alone[:, hole])


def test_a_mirrored_copy_fills_what_is_the_same_on_both_sides() -> None:
    """Of two halves that are each other's mirror images, one has a hole."""
    half = photo("guitar", 160)[:, :, :96]
    image = torch.cat([half, half.flip(2)], 2)
    hole = torch.zeros(160, 192, dtype=torch.bool)
    hole[60:84, 30:54] = True
    level = Level.of(torch.where(hole, 0.5, image), hole)
    pool = Level(*(torch.cat(pair, -1) for pair in zip(level, level.mirrored(), strict=True)))
    assert pool.mirrored().mirrored().known.equal(pool.known)
    right = []
    for part in (level, pool):
        sources = match(part, torch.Generator().manual_seed(0), Matching(near=0.0))
        wrong = (copied(part.image, sources)[:, :, :192] - image).abs().amax(0)
        right.append((wrong[hole] == 0).float().mean())
    assert right[1] > 0.8 > 3 * right[0]


def test_nothing_known() -> None:
    with pytest.raises(ValueError, match="nothing to copy"):
        complete(torch.rand(3, 40, 40), torch.ones(40, 40, dtype=torch.bool))


def test_a_hole_at_the_border_and_one_of_a_single_pixel() -> None:
    image = photo()
    corner = disc(160, 40, (0, 0))
    pixel = disc(160, 1, (80, 80))
    for hole in (corner, pixel):
        filled = complete(image, hole, tries=4)
        assert torch.isfinite(filled).all()
        assert torch.equal(filled[:, ~hole], image[:, ~hole])


def test_progress_ends_at_one_and_rises() -> None:
    image, hole = photo(), disc(160, 24)
    shares: list[float] = []
    complete(image, hole, tries=3, callback=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_levels_halve_until_the_hole_is_shallow() -> None:
    image, hole = photo(), disc(160, 30)
    pyramid = levels(Level.of(image, hole), 8.0)
    assert [level.size for level in pyramid] == [(160, 160), (80, 80), (40, 40)]
    assert depth(pyramid[-1].hole) <= 8 < depth(pyramid[-2].hole)
    for fine, coarse in zip(pyramid, pyramid[1:], strict=False):
        assert not (coarse.known & coarse.hole).any()
        blocks = fine.image.reshape(3, coarse.size[0], 2, coarse.size[1], 2).mean((2, 4))
        assert (blocks - coarse.image)[:, coarse.known].abs().max() < 1e-6


def test_offsets_of_a_pattern_are_multiples_of_its_period() -> None:
    level = Level.of(tiles(), disc(96, 12))
    offsets = dominant_offsets(level, 10, torch.Generator().manual_seed(0))
    assert (offsets[:5] % PERIOD == 0).all()
    half = some_offsets(offsets, level, torch.Generator().manual_seed(1))
    assert len(half) <= len(offsets) // 2 + 4


@pytest.mark.parametrize("name", ["flat", "lines"])
def test_each_lost_pixel_has_an_offset(name: str) -> None:
    """On flat ground every patch is like every other; most of the image is lost."""
    image = torch.full((3, 64, 64), 0.3)
    if name == "lines":
        image[:, ::2] = 0.6
    hole = torch.zeros(64, 64, dtype=torch.bool)
    hole[10:, 8:] = True
    level = Level.of(image, hole)
    offsets = dominant_offsets(level, 4, torch.Generator().manual_seed(0))
    at = hole.nonzero()[:, None] + offsets
    inside = ((at >= 0) & (at < 64)).all(-1)
    at = at.clamp(0, 63)
    assert (inside & ~hole[at[..., 0], at[..., 1]]).any(1).all()


def test_a_small_known_part_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs of pairs are held for few offsets of each pixel: those that lead to a known one."""
    image, hole = photo(side=96), torch.ones(96, 96, dtype=torch.bool)
    hole[40:56, 30:50] = False
    labels = dominant_offsets(Level.of(image, hole), 60, torch.Generator().manual_seed(0))
    held: list[int] = []
    plain = shift_map_module.minimize

    def minimize(energy: Energy, iterations: int) -> Tensor:
        held.append(energy.right.numel())
        return plain(energy, iterations)

    monkeypatch.setattr(shift_map_module, "minimize", minimize)
    monkeypatch.setattr(shift_map_module, "PAIRS", 2**20)
    sources = shift_map([Level.of(image, hole)], labels, ShiftMap(iterations=2))
    assert len(labels) ** 2 * hole.sum() > 20 * 2**20
    assert max(held) <= 2**20
    assert not hole[sources[..., 0], sources[..., 1]].any()
    offsets = {tuple(o) for o in (sources - coordinates((96, 96)))[hole].tolist()}
    assert offsets <= {tuple(label) for label in labels.tolist()}


def test_the_nearest_pixel_of_an_area() -> None:
    from scipy.ndimage import distance_transform_edt

    area = torch.rand(50, 60, generator=torch.Generator().manual_seed(0)) > 0.97
    at = nearest(area)
    assert area[at[..., 0], at[..., 1]].all()
    grid = torch.stack(torch.meshgrid(torch.arange(50), torch.arange(60), indexing="ij"), -1)
    distance = (at - grid).square().sum(-1).sqrt()
    exact = torch.from_numpy(distance_transform_edt(~area.numpy()))
    assert (distance - exact).abs().max() < 0.5


def test_the_blend_solves_the_screened_poisson_equation() -> None:
    """Against a direct solution of the normal equations by scipy."""
    image, hole, length = photo("city", 48).double(), disc(48, 8), 4.5
    shift = torch.tensor([0, -15])
    grid = torch.stack(torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij"), -1)
    left = (grid[..., 1] < 24)[..., None]
    sources = torch.where(hole[..., None], grid + torch.where(left, shift, -shift), grid)
    filled = blend(Level.of(image, hole), sources, length)

    copy = copied(image, sources)
    number = {tuple(at): i for i, at in enumerate(hole.nonzero().tolist())}
    rows, columns, values = [], [], []
    right = np.zeros((len(number), 3))
    for (y, x), i in number.items():
        rows.append(i), columns.append(i), values.append(1 / length**2)
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            p, q = (y, x), (y + dy, x + dx)
            target = jump(image, hole, sources, p, q) - (copy[:, *p] - copy[:, *q])
            right[i] += target.numpy()
            rows.append(i), columns.append(i), values.append(1.0)
            if q in number:
                rows.append(i), columns.append(number[q]), values.append(-1.0)
    matrix = coo_matrix((values, (rows, columns))).tocsc()
    change = torch.from_numpy(spsolve(matrix, right)).T
    at = hole.nonzero()
    exact = copy[:, at[:, 0], at[:, 1]] + change
    assert (filled[:, at[:, 0], at[:, 1]] - exact).abs().max() < 1e-3
    assert torch.equal(filled[:, ~hole], image[:, ~hole])


def jump(
    image: Tensor, hole: Tensor, sources: Tensor, p: tuple[int, int], q: tuple[int, int]
) -> Tensor:
    """The stronger of the differences that the sources of two neighbors have."""
    d = torch.tensor(q) - torch.tensor(p)
    found = []
    for at, sign in ((sources[p], 1), (sources[q], -1)):
        beside = at + sign * d
        if not hole[tuple(beside)]:
            found.append(sign * (image[:, *at] - image[:, *beside]))
    return max(found, key=lambda x: float(x.abs().sum()))


def test_the_judge_prefers_the_truth() -> None:
    """The truth, from beside the image, against pixels from anywhere and one color."""
    scene, hole = photo("grass", 120), disc(120, 22)
    twice = torch.cat([scene, scene], 2)
    level = Level.of(twice, torch.cat([hole, torch.zeros_like(hole)], 1))
    grid = torch.stack(torch.meshgrid(torch.arange(120), torch.arange(240), indexing="ij"), -1)
    lost = level.hole[..., None]
    truth = torch.where(lost, grid + torch.tensor([0, 120]), grid)
    known = level.known.nonzero()
    draw = torch.randint(len(known), (120, 240), generator=torch.Generator().manual_seed(0))
    anywhere = torch.where(lost, known[draw], grid)
    flat = torch.where(lost, known[0], grid)
    maps = (truth, anywhere, flat)
    one, *others = (unlikeness(level, copied(level.image, x)) for x in maps)
    assert one < 0.6 * min(others)
    one, *others = (fault(level, x, blend(level, x)) for x in maps)
    assert one < 0.6 * min(others)


def test_what_is_seen_once_is_rare() -> None:
    """Copies of a pattern have their like elsewhere, and those of a spot on it have not."""
    image, hole = tiles(96, 192), disc(192, 14, (48, 144))[:96]
    image[:, 40:56, 40:56] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    level = Level.of(image, hole)
    pattern, spot = (moved(level, (0, -columns)) for columns in (64, 96))
    assert rarity(level, pattern) < 1e-3
    assert rarity(level, spot) > 0.1


def test_the_judge_sees_the_stains_of_a_blend() -> None:
    """Noise that is copied from anywhere is like its surroundings, until it is blended."""
    noise = 0.5 + 0.02 * torch.randn(3, 96, 160, generator=torch.Generator().manual_seed(0))
    level = Level.of(noise, disc(160, 20, (48, 48))[:96])
    known = level.known.nonzero()
    draw = torch.randint(len(known), level.size, generator=torch.Generator().manual_seed(1))
    maps = moved(level, (0, 44)), torch.where(level.hole[..., None], known[draw], moved(level))
    one, other = (unlikeness(level, copied(level.image, x)) for x in maps)
    assert abs(one / other - 1) < 0.1
    one, other = (fault(level, x, blend(level, x)) for x in maps)
    assert one < 0.9 * other


def moved(level: Level, offset: tuple[int, int] = (0, 0)) -> Tensor:
    """The sources of a hole that is filled from one offset."""
    grid = coordinates(level.size)
    return torch.where(level.hole[..., None], grid + torch.tensor(offset), grid)


def test_a_large_hole_is_laid_out_at_reduced_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern goes on, and a photo keeps its texture."""
    from diffprior.exemplar import completion

    monkeypatch.setattr(completion, "LARGE", 300)
    image, hole = tiles(256, 256), disc(256, 36)
    filled = complete(torch.where(hole, 0.5, image), hole, tries=2)
    assert ((filled - image).abs().amax(0)[hole] < 1e-3).float().mean() > 0.9
    scene = photo("grass", 256)
    filled = complete(scene, hole, tries=2)
    assert torch.equal(filled[:, ~hole], scene[:, ~hole])
    energy = [(x[:, hole].diff(dim=1) ** 2).mean() for x in (filled, scene)]
    assert 0.6 < energy[0] / energy[1] < 1.5
