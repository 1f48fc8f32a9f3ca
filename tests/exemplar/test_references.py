"""Other images of a scene: found, laid over a hole, and refused where they do not fit."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from torch import Tensor

from diffprior.exemplar.blend import paste
from diffprior.exemplar.references import Reference, has_alike, locate, show

SIDE = 256
TOP, LEFT = 120, 150


def scene(name: str, top: int = TOP, left: int = LEFT) -> Tensor:
    with Image.open(f"data/samples/{name}.png") as image:
        part = image.convert("RGB").crop((left, top, left + SIDE, top + SIDE))
        return torch.from_numpy(np.asarray(part).copy()).permute(2, 0, 1) / 255


def disc(radius: float = 34, at: tuple[int, int] = (130, 120)) -> Tensor:
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2


def another_shot(name: str, angle: float, gain: float = 1.05, seed: int = 0) -> Tensor:
    """Turned around the middle, 1% larger, moved by a part of a pixel, brighter, and noisy."""
    with Image.open(f"data/samples/{name}.png") as image:
        whole = np.asarray(image.convert("RGB"), np.float32) / 255
    turn = cv2.getRotationMatrix2D((LEFT + SIDE / 2, TOP + SIDE / 2), angle, 1.01)
    turn[:, 2] += (6.3 - LEFT, -4.6 - TOP)
    shot = gain * cv2.warpAffine(whole, turn, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
    shot += np.random.default_rng(seed).normal(0, 5 / 255, shot.shape)
    return (
        torch.from_numpy(np.rint(255 * shot.clip(0, 1)).astype(np.float32)).permute(2, 0, 1) / 255
    )


def psnr(x: Tensor, truth: Tensor, where: Tensor) -> float:
    return float(-10 * (x - truth)[:, where].square().mean().log10())


def shown(image: Tensor, hole: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    lost = torch.where(hole, 0.5, image)
    return show(lost, hole, ~hole, [locate(lost, hole, other) for other in others])


@pytest.mark.parametrize("name, angle", [("city", 1.0), ("grass", -2.0), ("house", 2.0)])
def test_a_shot_that_is_turned_brighter_and_noisy_fits(name: str, angle: float) -> None:
    """Its noise of 5 / 255 alone is 34 dB."""
    image, hole = scene(name), disc()
    out, filled = shown(image, hole, another_shot(name, angle))
    assert torch.equal(filled, hole)
    assert psnr(out, image, hole) > 32
    assert torch.equal(out[:, ~hole], image[:, ~hole])


def test_the_place_is_that_of_the_turn() -> None:
    image, hole = scene("city"), disc()
    placed = locate(torch.where(hole, 0.5, image), hole, another_shot("city", 1.0))
    turn = np.vstack([cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 1.0, 1.01), [0, 0, 1]])
    turn[:2, 2] += (6.3, -4.6)
    assert placed.found
    for row, column in ((20, 30), (128, 128), (230, 200)):
        x, y, _ = turn @ (column, row, 1)
        assert np.allclose(placed.middle(row, column), (y, x), atol=0.7)
    part = placed.seen_from(50, 60)
    assert np.allclose(part.middle(10, 20), placed.middle(60, 80))


@pytest.mark.parametrize("name, other", [("city", "grass"), ("haze", "flowers"), ("dog", "house")])
def test_an_image_of_something_else_is_refused(name: str, other: str) -> None:
    hole = disc()
    out, filled = shown(scene(name), hole, scene(other))
    assert not filled.any()
    assert torch.equal(out[:, ~hole], scene(name)[:, ~hole])


def test_patches_of_another_part_of_the_texture_may_be_copied_and_others_not() -> None:
    image, hole = scene("grass", 100, 100), disc()
    assert has_alike(image, hole, ~hole, scene("grass", 300, 300))
    for other in (scene("city"), scene("flowers"), torch.zeros(3, SIDE, SIDE), image[:, :9, :9]):
        assert not has_alike(image, hole, ~hole, other)


def test_what_stands_in_the_way_in_the_other_image_is_not_copied() -> None:
    """A red box covers the left half of the hole there; a second image shows that half."""
    image, hole = scene("city"), disc()
    first, second = image.clone(), image.clone()
    first[:, 80:180, 60:110] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    second[:, 80:180, 130:200] = torch.tensor([0.1, 0.9, 0.1])[:, None, None]
    _, filled = shown(image, hole, first)
    assert 0.4 < (filled & hole).sum() / hole.sum() < 0.9
    out, filled = shown(image, hole, first, second)
    assert torch.equal(filled, hole)
    assert ((out - image).abs().amax(0)[hole] < 1e-3).float().mean() > 0.8


def test_a_reference_that_ends_in_the_hole_fills_its_part() -> None:
    image, hole = scene("city"), disc()
    out, filled = shown(image, hole, image[:, :, :130])
    column = torch.arange(SIDE).expand(SIDE, -1)
    assert torch.equal(filled, hole & (column < 130))
    assert (out - image)[:, filled].abs().max() < 1e-6


def test_each_hole_is_looked_at_by_itself() -> None:
    """What changed at one hole says nothing of the other one."""
    image = scene("city")
    near, far = disc(20, (60, 60)), disc(20, (200, 200))
    other = image.clone()
    other[:, 140:, 140:] = scene("grass")[:, 140:, 140:]
    out, filled = shown(image, near | far, other)
    assert torch.equal(filled, near)
    assert torch.equal(out[:, near], image[:, near])


def test_gray_images_and_strokes() -> None:
    image = scene("flowers").mean(0, keepdim=True)
    stroke = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    stroke[100:106, 20:240] = True
    out, filled = shown(image, stroke, image)
    assert torch.equal(filled, stroke)
    assert torch.equal(out, image)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (40, 3), (5, 5)])
def test_tiny_references_do_no_harm(size: tuple[int, int]) -> None:
    image, hole = scene("city"), disc()
    _, filled = shown(image, hole, torch.full((3, *size), 0.3))
    assert not filled.any()


def test_a_hole_at_a_corner_and_all_but_a_few_pixels() -> None:
    image = scene("city")
    corner = disc(60, (0, 0))
    out, _ = shown(image, corner, image)
    assert torch.equal(out, image)
    most = torch.ones(SIDE, SIDE, dtype=torch.bool)
    most[:2, :2] = False
    _, filled = shown(image, most, image)
    assert not filled.any()


def test_the_paste_solves_the_screened_poisson_equation() -> None:
    """Against a direct solution of the normal equations by scipy."""
    rng = torch.Generator().manual_seed(0)
    image, other = torch.rand(2, 3, 24, 24, generator=rng).double()
    hole = torch.zeros(24, 24, dtype=torch.bool)
    hole[6:15, 8:19] = True
    known = ~hole
    known[15:, :] = False  # nothing is known below
    length = 3.5
    number = {tuple(at): i for i, at in enumerate(hole.nonzero().tolist())}
    rows, columns, values, right = [], [], [], np.zeros((len(number), 3))
    for (y, x), i in number.items():
        diagonal = 1 / length**2
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            q = (y + dy, x + dx)
            if q in number:
                diagonal += 1
                rows.append(i), columns.append(number[q]), values.append(-1.0)
            elif known[q]:
                diagonal += 1
                right[i] += (image - other)[:, *q].numpy()
        rows.append(i), columns.append(i), values.append(diagonal)
    change = spsolve(coo_matrix((values, (rows, columns))).tocsc(), right)
    at = hole.nonzero()
    exact = other[:, at[:, 0], at[:, 1]] + torch.from_numpy(change).T
    filled = paste(image, other, hole, known, length)
    assert (filled[:, at[:, 0], at[:, 1]] - exact).abs().max() < 1e-3
    assert torch.equal(filled[:, ~hole], image[:, ~hole])


def test_references_compare_by_identity() -> None:
    one = Reference(torch.zeros(3, 4, 4), np.eye(3), True)
    assert one != Reference(one.image, one.place, True)
    assert len({one, one}) == 1
