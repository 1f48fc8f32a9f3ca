"""Colors under full transparency, which nobody sees, decide nothing that is seen."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import diffprior
from diffprior.io.arrays import as_images
from diffprior.priors.base import Prior

GROUNDS = {"black": (0, 0, 0), "white": (255, 255, 255), "green": (0, 255, 0)}


@pytest.fixture(scope="module")
def prior() -> Prior:
    return diffprior.load_prior()


def disc(ground: tuple[int, int, int], side: int = 32) -> np.ndarray:
    """A red disc with a soft edge on transparent ground of a color, RGBA."""
    i, j = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = np.clip(side / 3 - np.hypot(i, j), 0, 1)
    image = np.zeros((side, side, 4), np.uint8)
    image[..., :3] = np.where(alpha[..., None] > 0, (200, 30, 40), ground)
    image[..., 3] = np.rint(255 * alpha)
    return image


@pytest.mark.saw("black fringes round a cut-out after upscale")
@pytest.mark.parametrize("ground", GROUNDS)
def test_an_enlarged_cut_out_has_no_fringe(ground: str, prior: Prior) -> None:
    out = diffprior.super_resolve(disc(GROUNDS[ground]), scale=4, prior=prior, steps=4).image
    seen = out[..., 3] > 0
    assert out.shape == (128, 128, 4) and 0.2 < seen.mean() < 0.5
    off = np.abs(out[..., :3].astype(int) - (200, 30, 40)).max(-1)
    assert off[seen].max() <= 6


@pytest.mark.saw("the edge of a cut-out took the color of what nobody sees")
@pytest.mark.parametrize("task", ["denoise", "deblur"])
def test_what_is_seen_does_not_depend_on_what_is_not(task: str, prior: Prior) -> None:
    settings = {"denoise": {"sigma": 0.1}, "deblur": {"kernel": "gaussian:1", "sigma": 0.02}}
    run = getattr(diffprior, task)
    outs = []
    for ground in GROUNDS.values():
        image = disc(ground)
        image[..., :3] = np.where(image[..., 3:] > 0, image[..., :3], ground)
        out = run(image, prior=prior, steps=2, **settings[task]).image
        np.testing.assert_array_equal(out[..., 3], image[..., 3])
        np.testing.assert_array_equal(out[image[..., 3] == 0], image[image[..., 3] == 0])
        outs.append(out[image[..., 3] > 0])
    np.testing.assert_array_equal(outs[0], outs[1])
    np.testing.assert_array_equal(outs[0], outs[2])


@pytest.mark.saw("a hole beside a transparent part was filled with its black or white")
def test_a_fill_does_not_see_what_nobody_sees(prior: Prior) -> None:
    fills = []
    for ground in GROUNDS.values():
        image = np.full((64, 64, 4), (90, 140, 200, 255), np.uint8)
        image[:, :24] = (*ground, 0)
        hole = np.zeros((64, 64), bool)
        hole[20:40, 20:40] = True
        out = diffprior.inpaint(image, hole, prior=prior, steps=4).image
        np.testing.assert_array_equal(out[~hole], image[~hole])
        np.testing.assert_array_equal(out[..., 3], image[..., 3])
        np.testing.assert_array_equal(out[:, :24], image[:, :24])
        fills.append(out[hole & (image[..., 3] > 0)][:, :3].astype(int))
        assert np.abs(fills[-1] - (90, 140, 200)).max() <= 2
    np.testing.assert_array_equal(fills[0], fills[1])
    np.testing.assert_array_equal(fills[0], fills[2])


@pytest.mark.saw("colors that nobody sees counted as those of the picture")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tasks_see_the_color_of_the_nearest_visible_pixel(dtype: type) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (40, 50, 4)).astype(np.uint8)
    image[..., 3] = np.where(rng.random((40, 50)) < 0.02, 255, 0)
    top = 1 if dtype is np.float32 else np.iinfo(dtype).max
    values = (image / 255 * top).astype(dtype)
    images = as_images(values)
    lost = image[..., 3] == 0
    distance = ndimage.distance_transform_edt(lost)
    x = images.tensor()[0].movedim(0, -1).numpy()
    np.testing.assert_allclose(x[~lost], values[~lost, :3] / (top / 2) - 1, atol=1e-6)
    colors = {tuple(c): (i, j) for i, j in np.argwhere(~lost) for c in [np.round(x[i, j], 4)]}
    for i, j in np.argwhere(lost)[::37]:
        k, m = colors[tuple(np.round(x[i, j], 4))]
        assert np.hypot(i - k, j - m) <= 1.05 * distance[i, j] + 0.5
    np.testing.assert_array_equal(images.restore_kind(images.values), values)
    assert torch.equal(images.invisible()[0, 0], torch.from_numpy(lost))


@pytest.mark.saw("an image without a single visible pixel was no longer the same")
def test_an_image_of_nothing_stays(prior: Prior) -> None:
    image = Image.new("RGBA", (32, 32), (10, 20, 30, 0))
    out = diffprior.denoise(image, sigma=0.1, prior=prior).image
    assert out.getpixel((5, 5)) == (10, 20, 30, 0)


@pytest.mark.saw("a noisy cut-out was taken for a clean one, and stayed noisy")
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_the_noise_of_a_cut_out_is_that_of_what_is_seen(share: float) -> None:
    from diffprior.runtime.noise_level import noise_levels

    rng = np.random.default_rng(0)
    i, j = np.mgrid[:128, :128] - 63.5
    seen = np.hypot(i, j) < 128 * (share / np.pi) ** 0.5
    smooth = 0.5 + 0.2 * np.sin(i / 20) * np.cos(j / 15)
    noisy = smooth[..., None] + 0.08 * rng.standard_normal((128, 128, 3))
    image = np.dstack([np.clip(noisy, 0, 1) * seen[..., None], seen])
    (of_part,) = noise_levels("auto", as_images(image))
    assert of_part == pytest.approx(0.08, rel=0.08)
    image[..., :3] = np.clip(noisy, 0, 1)
    (of_opaque,) = noise_levels("auto", as_images(image[..., :3].copy()))
    assert of_part == pytest.approx(of_opaque, rel=0.08)


@pytest.mark.saw("a photo was taken for less noisy beside a cut-out than alone")
def test_an_opaque_image_beside_a_cut_out_is_looked_at_whole() -> None:
    from diffprior.runtime.noise_level import noise_levels

    rng = np.random.default_rng(0)
    both = rng.random((2, 4, 48, 64), np.float32)
    both[0, 3] = 1
    both[1, 3] = np.arange(64) < 40
    x = torch.from_numpy(both)
    together = noise_levels("auto", as_images(x))
    assert together == [noise_levels("auto", as_images(x[i]))[0] for i in (0, 1)]
    assert together[0] == noise_levels("auto", as_images(x[0, :3]))[0]
