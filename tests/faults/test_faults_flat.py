"""Flat ground stays flat: no task gives it a cast."""

import numpy as np
import pytest
import torch

import diffprior
from diffprior.priors.base import Prior

COLORS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "red": (255, 0, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "skin": (204, 166, 140),
    "navy": (10, 20, 60),
}


@pytest.fixture(scope="module")
def prior() -> Prior:
    return diffprior.load_prior()


def hole_of(kind: str, side: int) -> np.ndarray:
    hole = np.zeros((side, side), bool)
    if kind == "box":
        hole[side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = True
    elif kind == "corner":
        hole[: side // 4, : side // 4] = True
    else:
        hole[::8] = True
        hole[:, side // 2] = True
    return hole


def flat(color: tuple[int, ...], side: int) -> np.ndarray:
    return np.broadcast_to(np.uint8(color), (side, side, 3)).copy()


def cast(image: np.ndarray, hole: np.ndarray, **settings: object) -> int:
    out = diffprior.inpaint(image, hole, **settings)
    samples = np.stack([np.asarray(sample) for sample in out.samples]).astype(int)
    return int(np.abs(samples - image)[:, hole].max())


@pytest.mark.saw("a hole in a white wall came back with a cast of up to 20 levels")
@pytest.mark.parametrize("kind", ["box", "corner", "lines"])
@pytest.mark.parametrize("color", COLORS)
def test_a_hole_in_one_color_is_of_that_color(color: str, kind: str, prior: Prior) -> None:
    image = flat(COLORS[color], 48)
    assert cast(image, hole_of(kind, 48), prior=prior, steps=3) <= 2


@pytest.mark.saw("several fills of a plain wall had stains, and so had one with --texture")
@pytest.mark.parametrize("settings", [{"samples": 2}, {"fill": "texture"}], ids=str)
def test_samples_of_one_color_are_of_that_color(settings: dict[str, object], prior: Prior) -> None:
    image = flat(COLORS["skin"], 48)
    assert cast(image, hole_of("box", 48), prior=prior, steps=2, **settings) <= 2


@pytest.mark.saw("more steps made the cast worse")
@pytest.mark.parametrize("steps", [30, 60])
def test_nearly_flat_ground_gets_no_cast_either(steps: int, prior: Prior) -> None:
    """Ground with the noise of a camera, which is not of one color."""
    rng = np.random.default_rng(0)
    ground = np.array([COLORS["skin"], COLORS["gray"]][steps == 60])
    image = np.clip(np.rint(ground + 3 * rng.standard_normal((96, 96, 3))), 0, 255)
    image = image.astype(np.uint8)
    hole = np.zeros((96, 96), bool)
    hole[24:72, 24:72] = True
    for fill in ("smooth", "auto"):
        out = np.asarray(diffprior.inpaint(image, hole, prior=prior, steps=steps, fill=fill).image)
        error = out[hole].astype(float) - ground
        assert np.abs(error.mean(0)).max() <= 1.5
        if fill == "smooth":
            assert np.abs(error).max() <= 6
        else:  # copies have the noise of the ground
            assert 2.5 < error.std() < 3.5


@pytest.mark.saw("an object that a hole hides whole could no longer be drawn there")
def test_holes_with_more_than_one_color_around_are_the_priors(prior: Prior) -> None:
    from diffprior.classical.fill import flat_holes

    values = np.zeros((1, 64, 64, 3))
    values[:, :, 40:] = 0.25
    hole = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    hole[..., 10:14, 10:14] = True
    hole[..., 50:54, 36:40] = True
    assert torch.equal(
        flat_holes(values, hole, ~hole, 2 / 255)[0, 0].nonzero().amax(0), torch.tensor([13, 13])
    )
    hole[..., 8:40, 8:30] = True
    assert not flat_holes(values, hole, ~hole, 2 / 255).any()
