"""Patches of an image as a prior: against sums over all of them, one by one."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

import diffprior
from diffprior.diffusions import GaussianDiffusion
from diffprior.errors import ImageError, SettingError
from diffprior.priors.base import Prior, denoise_vjp
from diffprior.priors.half import HalfPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.patches import PatchPrior, sample_structure
from diffprior.random import Noise
from diffprior.schedules import EDM, Cosine, Geometric, LinearBeta, Rectified

from support.exact import random

SCHEDULES = [Cosine(), LinearBeta(), Geometric(), EDM(), Rectified()]


def time(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


def at(prior: Prior, level: float) -> Tensor:
    return prior.diffusion.schedule.time(level)


def patches(image: Tensor, side: int) -> Tensor:
    """Return all patches of an image ``(C, H, W)``, in plain loops."""
    _, h, w = image.shape
    corners = [(i, j) for i in range(h - side + 1) for j in range(w - side + 1)]
    return torch.stack([image[:, i : i + side, j : j + side] for i, j in corners])


def posterior_mean(keys: Tensor, x: Tensor, levels: Tensor | float) -> Tensor:
    """Return E[patch | x] by enumeration: x is one patch, ``keys`` all there are."""
    log_p = -(((x - keys) / levels) ** 2).flatten(1).sum(1) / 2
    p = (log_p - log_p.max()).exp()
    return (p[:, None, None, None] * keys).sum(0) / p.sum()


def texture(h: int = 24, w: int = 24, period: int = 4) -> Tensor:
    """Return a colored image that repeats every few pixels both ways."""
    tile = (0.5 * random(3, period, period, seed=2, dtype=torch.float32)).clamp(-1, 1)
    return tile.repeat(1, -(-h // period), -(-w // period))[:, :h, :w]


def hole_in(h: int = 24, w: int = 24) -> Tensor:
    hole = torch.zeros(h, w, dtype=torch.bool)
    hole[9:15, 8:15] = True
    hole[11, 15:17] = True
    return hole


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("t", [0.0, 0.05, 0.3, 0.6, 0.95, 1.0])
def test_images_as_large_as_a_patch_are_a_mixture_of_them(schedule, t: float) -> None:
    """The whole prior is then exact: a sum of points, which is a mixture of no width."""
    images, diffusion = random(6, 3, 5, 5), GaussianDiffusion(schedule)
    ours = PatchPrior(images, side=5, diffusion=diffusion)
    exact = MixturePrior(torch.ones(6).double(), images, torch.zeros(6).double(), diffusion)
    alpha, sigma = schedule(time(t))
    x_t = alpha * random(4, 3, 5, 5, seed=1) + sigma * random(4, 3, 5, 5, seed=2)
    torch.testing.assert_close(ours(x_t, time(t)), exact(x_t, time(t)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("level", [0.05, 0.3, 2.0])
def test_an_image_is_the_mean_of_the_exact_means_of_its_patches(level: float) -> None:
    image, x = random(2, 6, 7), random(2, 8, 5, seed=1)
    prior = PatchPrior(image, side=3, window="flat").for_shape(x.shape)
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    for i in range(6):
        for j in range(3):
            cut = (slice(None), slice(i, i + 3), slice(j, j + 3))
            total[cut] += posterior_mean(patches(image, 3), x[cut], level)
            count[cut] += 1
    t = at(prior, level)
    alpha, _ = prior.diffusion.schedule(t)
    torch.testing.assert_close(prior((alpha * x)[None], t)[0], total / count)


def near_keys() -> Tensor:
    """Return patches of which 50 differ by 1e-4: float32 would round their squared distances."""
    near = random(1, 3, 4, 4) + 1e-4 * random(50, 3, 4, 4, seed=1)
    return torch.cat([near, random(50, 3, 4, 4, seed=2)]).float()


def test_the_limit_of_no_noise_is_the_nearest_patch() -> None:
    keys = near_keys()
    prior = PatchPrior(keys, side=4, diffusion=GaussianDiffusion(Geometric(sigma_min=1e-5)))
    x = keys[[7, 31]] + 1e-5 * random(2, 3, 4, 4, seed=2, dtype=torch.float32)
    torch.testing.assert_close(prior(x, time(0.0)), keys[[7, 31]], rtol=0, atol=1e-6)


def test_without_noise_a_hole_gets_the_patch_that_fits_its_border() -> None:
    keys = near_keys()
    prior = PatchPrior(keys, side=4, diffusion=GaussianDiffusion(Geometric(sigma_min=1e-5)))
    hole = torch.zeros(4, 4)
    hole[1:3, 1:] = 1
    for one in (7, 31):
        given = prior.given(keys[one], hole, tolerance=1e-5)
        torch.testing.assert_close(
            given(keys[one][None], time(0.0))[0], keys[one], rtol=0, atol=1e-6
        )


def test_the_center_of_a_patch_may_speak_alone() -> None:
    image, x = random(2, 9, 9), random(2, 7, 7, seed=1)
    prior = PatchPrior(image, side=3, window="center").for_shape(x.shape)
    keys, t = patches(image, 3), at(prior, 0.5)
    alpha, _ = prior.diffusion.schedule(t)
    ours = prior((alpha * x)[None], t)[0]
    for i, j in [(1, 1), (3, 4), (5, 5)]:
        mean = posterior_mean(keys, x[:, i - 1 : i + 2, j - 1 : j + 2], 0.5)
        torch.testing.assert_close(ours[:, i, j], mean[:, 1, 1])
    corner = posterior_mean(keys, x[:, :3, :3], 0.5)  # of the border: the nearest patch
    torch.testing.assert_close(ours[:, 0, 0], corner[:, 0, 0])


def test_known_pixels_have_noise_of_their_own() -> None:
    """The conditional mean by enumeration, with the levels of each pixel."""
    image, x = random(2, 6, 7), random(2, 5, 5, seed=1)
    levels = torch.where(random(1, 5, 5, seed=3) > 0, 0.1, 0.8).double()
    prior = PatchPrior(image, side=5)
    mean = posterior_mean(patches(image, 5), x, levels)
    torch.testing.assert_close(prior.conditional(x[None], levels)[0], mean)
    even = torch.full((1, 1, 1, 1), 0.3, dtype=torch.float64)
    t = at(prior, 0.3)
    alpha, _ = prior.diffusion.schedule(t)
    same = prior.for_shape(x.shape)((alpha * x)[None], t)
    torch.testing.assert_close(prior.conditional(x[None], even), same)


@pytest.mark.parametrize("kept", [2**22, 0], ids=["kept", "again"])
def test_a_given_image_is_conditioned_on(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffprior.priors.patches.KEPT", kept)
    image, x = random(3, 12, 13), random(1, 3, 12, 13, seed=1)
    hole = torch.zeros(12, 13)
    hole[4:8, 5:9] = 1
    prior = PatchPrior(image, hole, side=5)
    given = prior.given(image, hole, tolerance=0.2)
    levels = torch.where(hole > 0, 0.7, 0.2).double()
    mean = prior.conditional(torch.where(hole > 0, x, image), levels)
    t = at(prior, 0.7)
    alpha, _ = prior.diffusion.schedule(t)
    ours = given(alpha * x, t)
    torch.testing.assert_close(ours, torch.where(hole > 0, mean, image))
    assert torch.equal(ours[0][:, hole == 0], image[:, hole == 0])


def test_a_texture_that_repeats_is_completed() -> None:
    image, hole = texture(), hole_in()
    lost = torch.where(hole, torch.nan, image)
    prior = PatchPrior(lost, hole)
    fills = sample_structure(prior, lost, hole, [0, 1, 2])
    assert fills.shape == (3, 3, 24, 24)
    torch.testing.assert_close(fills, image.expand(3, -1, -1, -1), rtol=0, atol=1e-4)
    assert torch.equal(fills[:, :, ~hole], image[:, ~hole].expand(3, -1, -1))


@pytest.mark.parametrize(
    "method", ["dpir", "ddnm", "repaint(steps=50, repeats=2)", "mmps", "dps", "tmpd"]
)
def test_any_method_completes_it(method: str) -> None:
    image, hole = texture(), hole_in()
    prior = PatchPrior(image.masked_fill(hole, 0), hole)
    truth = (image + 1) / 2
    lost = truth.masked_fill(hole, 0.5)
    filled = diffprior.inpaint(lost, hole.float(), prior=prior, method=method).image
    torch.testing.assert_close(filled, truth, rtol=0, atol=0.5 / 255)
    assert torch.equal(filled[:, ~hole], truth[:, ~hole])


def test_a_seed_gives_the_same_fill_in_any_company() -> None:
    image, hole = random(3, 24, 24, dtype=torch.float32), hole_in()
    prior = PatchPrior(image, hole)
    four = sample_structure(prior, image, hole, [3, 1, 4, 5], steps=5)
    assert torch.equal(four[2], sample_structure(prior, image, hole, [4], steps=5)[0])
    streams = sample_structure(prior, image, hole, Noise(4, samples=2), steps=5)
    assert torch.equal(streams[0], four[2]) and not torch.equal(streams[1], four[2])


def test_a_row_is_the_same_in_any_company() -> None:
    image, hole = random(3, 20, 20, dtype=torch.float32), torch.zeros(20, 20)
    hole[6:12, 6:12] = 1
    prior = PatchPrior(image, hole, symmetry="turned")
    x = random(5, 3, 20, 20, seed=1, dtype=torch.float32)
    for one in (prior, prior.given(image, hole)):
        batch = one(x, time(0.4))
        assert torch.equal(batch[3:4], one(x[3:4], time(0.4)))
        assert torch.equal(batch.flip(0), one(x.flip(0), time(0.4)))
    levels = torch.full((1, 1, 1, 1), 0.3)
    assert torch.equal(prior.conditional(x, levels)[2:3], prior.conditional(x[2:3], levels))


@pytest.mark.parametrize("at_once", [2**19, 100], ids=["whole", "in parts"])
@pytest.mark.parametrize("window", ["gaussian", "flat", "center"])
def test_the_gradient_is_that_of_finite_differences(
    window: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffprior.priors.patches.AT_ONCE", at_once)
    monkeypatch.setattr("diffprior.priors.patches.LEAST", 1)
    image, x_t, v = random(2, 9, 8), random(1, 2, 6, 6, seed=1), random(1, 2, 6, 6, seed=2)
    hole = torch.zeros(6, 6)
    hole[2:4, 2:5] = 1
    prior = PatchPrior(image, side=3, window=window).for_shape((2, 6, 6))
    for one in (prior, prior.given(random(2, 6, 6, seed=3), hole)):
        t = at(one, 0.8)
        _, vjp = denoise_vjp(one, x_t, t)
        J = torch.stack([(one(x_t + d, t) - one(x_t - d, t)) / 2e-5 for d in _steps(x_t, 1e-5)])
        expected = (J.reshape(len(J), -1) @ v.flatten()).reshape(x_t.shape)
        torch.testing.assert_close(vjp(v), expected, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(vjp(2 * v), 2 * vjp(v))  # it can be asked again


def _steps(x: Tensor, size: float) -> Tensor:
    return size * torch.eye(x.numel(), dtype=x.dtype).reshape(-1, *x.shape)


def test_copies_are_turned_and_mirrored() -> None:
    image = random(1, 3, 4)
    plain = PatchPrior(image, side=3)
    mirrored = PatchPrior(image, side=3, symmetry="mirrored")
    by_hand = PatchPrior([image, image.flip(-1)], side=3)
    x, t = random(1, 1, 3, 3, seed=1), time(0.5)
    ours = mirrored.for_shape((1, 3, 3))(x, t)
    torch.testing.assert_close(ours, by_hand.for_shape((1, 3, 3))(x, t))
    turned = PatchPrior(image, side=3, symmetry="turned").for_shape((1, 3, 3))
    assert [len(p.keys) for p in (plain, mirrored, turned)] == [2, 4, 16]
    torch.testing.assert_close(turned(x.rot90(1, (-2, -1)), t), turned(x, t).rot90(1, (-2, -1)))
    torch.testing.assert_close(turned(x.mT, t), turned(x, t).mT)


def test_patches_that_touch_a_hole_do_not_count() -> None:
    image, hole = random(1, 8, 8), torch.zeros(8, 8)
    hole[5, 2] = 0.01  # a soft mask counts from its first gray on
    prior = PatchPrior(image, hole, side=3)
    touched = [(i, j) for i in (3, 4, 5) for j in (0, 1, 2)]
    known = [i * 6 + j for i in range(6) for j in range(6) if (i, j) not in touched]
    keys = (prior.keys + prior.center).reshape(-1, 1, 3, 3)
    torch.testing.assert_close(keys, patches(image, 3)[known])


def test_other_images_lend_their_patches() -> None:
    """Sources of other sizes, of which one has a hole, and at most so many patches."""
    first, second = random(2, 8, 8), random(2, 5, 6, seed=1)
    hole = torch.zeros(1, 8, 8)
    hole[0, 4, 4] = 1
    assert len(PatchPrior([first, second], [hole, None], side=3).keys) == 27 + 12
    few = PatchPrior([first, second], [hole, None], side=3, most=10)
    again = PatchPrior([first, second], [hole, None], side=3, most=10)
    every = torch.cat([patches(first, 3), patches(second, 3)]).flatten(1)
    assert len(few.keys) == 10 and torch.equal(few.keys, again.keys)
    distances = torch.cdist(few.keys + few.center, every)
    assert float(distances.amin(1).max()) < 1e-6 and len(distances.argmin(1).unique()) == 10


def test_memory_is_bounded() -> None:
    """96 x 96 pixels with 7 x 7 patches, with gradients, with copies, and in float64."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 500  # MB


MEASURE = """
import resource, torch
from diffprior.priors.base import denoise_vjp
from diffprior.priors.patches import PatchPrior

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

x = torch.rand(1, 3, 96, 96) * 2 - 1
before = peak()
prior = PatchPrior(x)
t = torch.tensor(0.3, dtype=torch.float64)
_, vjp = denoise_vjp(prior, x, t)
vjp(x)
prior(x, 0 * t)
PatchPrior(x, symmetry="turned").for_shape((3, 24, 24))(x[..., :24, :24], 0 * t)
print((peak() - before) / 1000)
"""


def test_half_precision_is_for_networks() -> None:
    """A distance in bfloat16 would be off by more than the noise."""
    prior = PatchPrior(random(3, 16, 16, dtype=torch.float32))
    x = random(1, 3, 16, 16, seed=1, dtype=torch.float32)
    assert torch.equal(HalfPrior(prior)(x, time(0.3)), prior(x, time(0.3)))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: PatchPrior(torch.zeros(3, 6, 9)),
            "a patch of 7 x 7 pixels does not fit into an image of 6 x 9",
        ),
        (
            lambda: PatchPrior(torch.zeros(3, 9, 9), torch.eye(9)),
            "no patch of 7 x 7 pixels is wholly known: take smaller patches, or more of the image "
            "around the hole",
        ),
        (
            lambda: PatchPrior(torch.zeros(3, 9, 9), torch.zeros(8, 9)),
            r"the hole of an image of 9 x 9 pixels has that shape, got \(8, 9\)",
        ),
        (
            lambda: PatchPrior([torch.zeros(3, 9, 9), torch.zeros(1, 9, 9)]),
            "images of patches are floats .* of the same number of channels, got torch.float32 of "
            r"shape \(1, 9, 9\)",
        ),
        (
            lambda: PatchPrior([torch.zeros(3, 9, 9)], [None, None]),
            "there are 2 holes for 1 images; None is no hole",
        ),
        (lambda: PatchPrior([]), "a prior of patches needs an image, and there is none"),
        (
            lambda: PatchPrior(torch.full((3, 9, 9), torch.nan)),
            "a known pixel of an image of patches is not a finite number",
        ),
        (
            lambda: PatchPrior(torch.zeros(3, 9, 9)).for_shape((3, 5, 40)),
            "a patch of 7 x 7 pixels does not fit into an image of 5 x 40",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(make, says: str) -> None:
    with pytest.raises(ImageError, match=f"^{says}$"):
        make()


def test_levels_fall() -> None:
    image, hole = texture(), hole_in()
    prior = PatchPrior(image, hole)
    with pytest.raises(SettingError, match="^levels of noise fall, and are above 0"):
        sample_structure(prior, image, hole, [0], levels=(0.1, 0.2))
