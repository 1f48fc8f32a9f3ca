"""Metrics of filled holes, against scipy, closed forms and images that anyone can judge."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from diffprior import metrics
from diffprior.random import Noise


def noise(seed: int, side: int = 96, scale: float = 0.2, n: int = 1) -> Tensor:
    return scale * Noise(seed, samples=n).normal(torch.empty(n, 3, side, side))


def hole(side: int = 96, low: int = 24, high: int = 72) -> Tensor:
    mask = torch.zeros(1, 1, side, side, dtype=torch.bool)
    mask[..., low:high, low:high] = True
    return mask


def step(side: int = 64, height: float = 0.5) -> Tensor:
    """Return an image with one step down its middle, at the border of ``right_half``."""
    image = torch.zeros(1, 3, side, side)
    image[..., side // 2 :] = height
    return image


def right_half(side: int = 64) -> Tensor:
    mask = torch.zeros(1, 1, side, side, dtype=torch.bool)
    mask[..., side // 2 :] = True
    return mask


@pytest.mark.parametrize(("n", "m"), [(50, 50), (40, 71), (16, 300), (1, 7)])
def test_a_projection_is_at_the_distance_of_scipy(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=(3, n)), rng.normal(0.4, 1.5, size=(3, m))
    ours = metrics._wasserstein(torch.from_numpy(a), torch.from_numpy(b))
    assert ours.tolist() == pytest.approx(
        [wasserstein_distance(u, v) for u, v in zip(a, b, strict=True)]
    )


def test_the_patches_of_a_shift_are_at_the_mean_length_of_its_projections() -> None:
    """A patch without its mean that moves by v is at the distance E |<d, v>|, for unit d.

    The image is a ramp of one channel: each patch without its mean is the same one, at each scale
    with twice the slope, and the other image is constant.
    """
    slope = 0.004
    ramp = torch.zeros(1, 3, 96, 96)
    ramp[:, 1] = slope * torch.arange(96.0)
    v = slope * torch.arange(-3.0, 4.0).repeat(7).norm()
    share = math.sqrt(2 / math.pi) / math.sqrt(147)  # E |<d, v>| of |v|, in 147 dimensions
    expected = 50 * v * share * (1 + 2 + 4) / 3
    distance = metrics.patch_distance(ramp, torch.zeros(1, 3, 96, 96), hole())
    assert distance.item() == pytest.approx(expected.item(), rel=0.08)  # of 3 x 256 directions


def test_the_distance_of_two_noises_is_that_of_their_normal_distributions() -> None:
    """W1 of N(0, s^2) and N(0, r^2) is |s - r| sqrt(2 / pi); each scale halves s and r."""
    distance = metrics.patch_distance(noise(1, 160, 0.2), noise(2, 160, 0.1), hole(160, 20, 140))
    one_scale = 50 * 0.1 * math.sqrt(2 / math.pi) * math.sqrt(1 - 1 / 49)
    assert distance.item() == pytest.approx(one_scale * (1 + 1 / 2 + 1 / 4) / 3, rel=0.1)


def test_equal_images_are_at_no_distance_and_colors_do_not_count() -> None:
    x, y, mask = noise(1), noise(2), hole()
    assert metrics.patch_distance(x, x, mask).item() == 0
    tint = torch.tensor([0.3, -0.2, 0.1])[:, None, None]
    assert metrics.patch_distance(x + tint, x, mask).item() == pytest.approx(0, abs=1e-4)
    plain = metrics.patch_distance(x, y, mask)
    assert metrics.patch_distance(x + tint, y, mask).item() == pytest.approx(plain.item(), abs=1e-3)


def test_a_texture_is_nearer_than_a_smooth_fill_that_has_the_higher_psnr() -> None:
    truth, other, mask = noise(1), noise(2), hole()
    smooth = truth.masked_fill(mask, 0)
    fresh = torch.where(mask, other, truth)
    assert metrics.psnr(smooth, truth, mask) > metrics.psnr(fresh, truth, mask) + 2
    assert metrics.patch_distance(smooth, truth, mask) > 8 * metrics.patch_distance(
        fresh, truth, mask
    )


def test_images_and_masks_of_a_batch_are_alone() -> None:
    x, y = noise(1, n=2), noise(2, n=2)
    masks = torch.cat([hole(), hole(low=8, high=50)])
    pairs = list(zip(x.split(1), y.split(1), masks.split(1), strict=True))
    for metric, arguments in (
        (metrics.patch_distance, (x, y)),
        (metrics.texture, (x, y)),
        (metrics.seam, (x,)),
    ):
        together = metric(*arguments, masks)
        alone = [metric(*(a, b)[: len(arguments)], m) for a, b, m in pairs]
        assert torch.allclose(together, torch.cat(alone)) and together[0] != together[1]
        assert torch.equal(
            metric(*arguments, masks[:1]), metric(*arguments, masks[:1].repeat(2, 1, 1, 1))
        )


def test_pixels_that_no_patch_of_the_hole_sees_do_not_count() -> None:
    x, y, mask = noise(1), noise(2), hole(low=40, high=60)
    far = x.clone()
    far[..., :24, :] = 9.0  # 3 pixels of the third scale are 12, and 4 more are averaged
    assert torch.equal(metrics.patch_distance(far, y, mask), metrics.patch_distance(x, y, mask))


def test_many_patches_are_as_far_as_a_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, mask = noise(1, 128), noise(2, 128, 0.1), hole(128, 20, 110)
    whole = metrics.patch_distance(x, y, mask).item()
    monkeypatch.setattr(metrics, "MOST", 1000)
    assert metrics.patch_distance(x, y, mask).item() == pytest.approx(whole, rel=0.03)
    assert metrics.patch_distance(x, x, mask).item() == 0


@pytest.mark.parametrize(("low", "high"), [(48, 48), (48, 51)])
def test_a_hole_of_fewer_than_16_pixels_has_no_distance(low: int, high: int) -> None:
    assert metrics.patch_distance(noise(1), noise(2), hole(96, low, high)).isnan().all()
    assert metrics.patch_distance(noise(1), noise(2), hole(96, 48, 52)).isfinite().all()


def test_a_small_image_has_the_scales_that_it_has_room_for() -> None:
    x, y, mask = noise(1, 20), noise(2, 20), hole(20, 4, 16)
    assert metrics.patch_distance(x, y, mask).isfinite().all()
    tiny = metrics.patch_distance(noise(1, 6), noise(2, 6), hole(6, 0, 6))
    assert tiny.isnan().all()


def test_surroundings_reach_as_far_as_the_hole_is_deep() -> None:
    ring = metrics.surroundings(hole(96, 40, 56))  # its middle is 8 pixels from a known one
    rows = ring[0, 0, :, 48].nonzero().flatten().tolist()
    assert rows == [*range(24, 40), *range(56, 72)]
    both = torch.cat([hole(96, 40, 56), hole(96, 44, 48)])
    assert torch.equal(metrics.surroundings(both)[1:], metrics.surroundings(both[1:]))


def test_a_fill_of_the_same_texture_is_near_its_surroundings() -> None:
    x, mask = noise(1), hole(96, 36, 60)
    ring = metrics.surroundings(mask)
    same = metrics.patch_distance(x, x, mask, ring)
    smooth = x.masked_fill(mask, 0)
    assert metrics.patch_distance(smooth, smooth, mask, ring) > 4 * same


def test_the_seam_of_a_step_is_all_at_the_border() -> None:
    assert metrics.seam(step(), right_half()).isinf().all()
    shifted = step().roll(5, 3)
    shifted[..., :5] = 0
    assert metrics.seam(shifted, right_half()).item() == 0


def test_the_seam_of_a_ramp_is_1_and_of_a_ramp_with_a_step_is_known() -> None:
    """One of the two lines of the border, 32, holds the step; a ramp of slope s has gradient s."""
    slope, height = 0.01, 0.05
    ramp = slope * torch.arange(64.0).expand(1, 3, 64, 64)
    assert metrics.seam(ramp, right_half()).item() == pytest.approx(1, rel=1e-5)
    expected = ((slope + height) + slope) / 2 / slope
    assert metrics.seam(ramp + step(height=height), right_half()).item() == pytest.approx(
        expected, rel=1e-4
    )
    assert metrics.seam(3 * ramp + 0.2, right_half()).item() == pytest.approx(1, rel=1e-5)


def test_texture_is_the_ratio_of_energies_without_the_seam() -> None:
    truth, mask = noise(1), hole()
    fill = torch.where(mask, 0.5 * truth, truth)
    assert metrics.texture(fill, truth, mask).item() == pytest.approx(0.25)
    assert metrics.texture(truth.masked_fill(mask, 1), truth, mask).item() == 0
    assert metrics.texture(truth, truth, mask).item() == 1


def test_distances_are_those_of_scipy() -> None:
    from scipy.ndimage import distance_transform_edt

    mask = Noise(0).uniform(torch.empty(1, 1, 40, 50)) < 0.7
    inside, outside = metrics._distances(mask)
    for ours, side in ((inside, mask), (outside, ~mask)):
        assert np.allclose(ours[0, 0], distance_transform_edt(side[0, 0]), atol=1e-5)
    assert metrics._distances(torch.ones(1, 1, 4, 4))[0].isinf().all()
