"""The inpaint function: kinds, batches, windows and samples."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import diffprior
from diffprior.io.arrays import ImageError
from diffprior.operators.generators.masks import pixels, strokes
from diffprior.priors.mixture import MixturePrior


@pytest.fixture(scope="module")
def prior():
    return diffprior.load_prior()


def photograph(side=64, at=(60, 180)):
    """A piece of scikit-image's astronaut (public domain), float ``(3, side, side)`` in [0, 1]."""
    i, j = at
    piece = data.astronaut()[i : i + side, j : j + side]
    return torch.from_numpy(piece.copy()).movedim(-1, 0).float() / 255


def test_kinds_come_back_as_they_came(prior):
    x = photograph()
    mask = pixels(64, 64, 0, 0.3)
    array = (x.movedim(0, -1) * 255).byte().numpy()
    arrays = {
        "torch": (x, mask),
        "batch": (x[None], mask[None]),
        "uint8": (array, mask[0].numpy()),
        "uint16": (array.astype(np.uint16) * 257, mask[0].numpy()),
        "float": (array / 255, mask[0].numpy()),
        "grey": (array[..., 0], mask[0].numpy()),
        "pil": (Image.fromarray(array), Image.fromarray(mask[0].numpy())),
    }
    for name, (image, hole) in arrays.items():
        out = diffprior.inpaint(image, hole, prior=prior, steps=2)
        assert type(out.image) is type(image), name
        before, after = np.asarray(image), np.asarray(out.image)
        assert before.shape == after.shape and before.dtype == after.dtype, name
        known = ~np.asarray(mask[0])
        if name in ("torch", "batch"):
            same = (before == after).reshape(3, 64, 64).all(0)
        else:
            same = (before == after).reshape(64, 64, -1).all(-1)
        assert same[known].all() and not same[~known].all(), name


def test_a_fill_is_better_than_the_classical_ones(prior):
    """The number that matters: PSNR over the hole, against OpenCV and the smooth fill."""
    from diffprior.classical.fill import biharmonic
    from diffprior.metrics import psnr

    x, hole = photograph(128), pixels(128, 128, 1, 0.5)
    out = diffprior.inpaint(x * ~hole, hole, prior=prior)
    y, lost = 2 * x[None] - 1, hole[0].numpy().astype(np.uint8)
    image = np.ascontiguousarray(((x * ~hole) * 255).byte().movedim(0, -1).numpy())
    telea = torch.from_numpy(cv2.inpaint(image, lost, 3, cv2.INPAINT_TELEA)).movedim(-1, 0)
    ours = psnr(2 * out.image[None] - 1, y, hole[None])
    assert ours > psnr(telea[None] / 127.5 - 1, y, hole[None]) + 1.5
    assert ours > psnr(biharmonic(y, hole[None]), y, hole[None]) + 0.5


@pytest.mark.parametrize("method", [None, "diffpir(start=0.5)", "mmps(start=0.5, iterations=2)"])
@pytest.mark.parametrize("precision", ["full", "auto"])
def test_a_batch_is_its_images(prior, method, precision):
    """run(batch)[i] == run([i]), whatever the neighbors, to 1e-4."""
    x = torch.stack([photograph(48), photograph(48, (200, 100)), 1 - photograph(48, (5, 5))])
    holes = torch.stack([pixels(48, 48, k, 0.4) for k in range(3)])
    settings = {"prior": prior, "method": method, "steps": 3, "dtype": precision}
    together = diffprior.inpaint(x, holes, **settings).image
    for i in range(3):
        alone = diffprior.inpaint(x[i], holes[i], **settings).image
        assert (together[i] - alone).abs().max() <= 1e-4


def test_samples_differ_and_seeds_repeat(prior):
    x, hole = photograph(), strokes(64, 64, 0)
    settings = {"prior": prior, "steps": 2, "samples": 4}
    out = diffprior.inpaint(x, hole, **settings)
    again = diffprior.inpaint(x, hole, **settings)
    other = diffprior.inpaint(x, hole, seed=1, **settings)
    stack = torch.stack(out.samples)
    assert torch.equal(stack, torch.stack(again.samples))
    assert not torch.equal(stack, torch.stack(other.samples))
    assert torch.allclose(out.std, stack.std(0), atol=2e-3)
    assert torch.allclose(out.mean, stack.mean(0), atol=2e-3)
    assert (out.std[:, ~hole[0]] == 0).all() and (out.std[:, hole[0]] > 0).all()
    two = diffprior.inpaint(x, hole, prior=prior, steps=2, samples=2)
    assert torch.equal(torch.stack(two.samples), stack[:2])


def test_windows_leave_no_seam(prior):
    """The jumps across the borders of windows are those inside them."""
    x, hole = photograph(320, (0, 0)), pixels(320, 320, 3, 0.5)
    whole = diffprior.inpaint(x, hole, prior=prior, steps=3).image
    tiled = diffprior.inpaint(x, hole, prior=prior, steps=3, tile_size=192).image
    assert (whole - tiled).square().mean() < 1e-4
    jumps = tiled.diff(dim=-1).abs().mean((0, 1))
    borders = [b for b in (127, 128, 191, 192) if b < len(jumps)]
    truth = x.diff(dim=-1).abs().mean((0, 1))
    ratio = jumps / truth
    inside = ratio[[i for i in range(len(ratio)) if i not in borders]]
    for b in borders:
        assert abs(ratio[b] - inside.mean()) < 3 * inside.std()


def test_noise_in_what_is_known_is_cleaned(prior):
    from diffprior.metrics import psnr

    x, hole = photograph(96), pixels(96, 96, 2, 0.3)
    generator = torch.Generator().manual_seed(0)
    noisy = (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    out = diffprior.inpaint(noisy, hole, prior=prior, sigma=0.1)
    y = 2 * x[None] - 1
    assert psnr(2 * out.image[None] - 1, y, ~hole) > psnr(2 * noisy[None] - 1, y, ~hole) + 3


def test_only_what_surrounds_the_holes_is_worked_on(prior):
    """A small hole in a large image costs no more than a small image."""
    x = photograph(512, (0, 0))
    hole = torch.zeros(1, 512, 512, dtype=torch.bool)
    hole[:, 100:110, 380:400] = True
    seen = []
    handle = prior.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    out = diffprior.inpaint(x, hole, prior=prior, steps=2)
    handle.remove()
    assert max(s[-1] * s[-2] for s in seen) <= 300**2
    assert torch.equal(out.image[:, ~hole[0]], x[:, ~hole[0]])


def test_an_exact_prior_fills_exactly():
    """Through the task's own door: a Gaussian prior of 3 x 4 x 4 images has a known answer."""
    generator = torch.Generator().manual_seed(0)
    L = torch.randn(48, 48, generator=generator) / 20
    cov = L @ L.T + 1e-3 * torch.eye(48)
    mean = torch.randn(3, 4, 4, generator=generator) / 5
    prior = MixturePrior(torch.ones(1), mean[None], cov[None])
    x, hole = torch.rand(3, 4, 4, generator=generator) * 0.2 + 0.4, torch.zeros(1, 4, 4) > 0
    hole[:, 1:3, 1:3] = True
    lost = hole.expand(3, 4, 4).flatten()
    y = 2 * x.flatten() - 1
    K = cov[lost][:, ~lost] @ torch.linalg.inv(cov[~lost][:, ~lost])
    exact = mean.flatten()[lost] + K @ (y[~lost] - mean.flatten()[~lost])
    deviation = (cov[lost][:, lost] - K @ cov[~lost][:, lost]).diag().sqrt()
    out = diffprior.inpaint(
        x,
        hole,
        prior=prior,
        method="mmps(iterations=40, sampler=ancestral(steps=50))",
        samples=150,
        dtype="float32",
    )
    mean = (2 * torch.stack(out.samples) - 1).flatten(1)[:, lost].mean(0)
    assert ((mean - exact).abs() < 4 * deviation / 150**0.5 + 5e-3).all()


def test_bad_arrays_are_refused(prior):
    x, hole = photograph(), pixels(64, 64, 0, 0.3)
    broken = x.clone()
    broken[0, 3, 3] = float("nan")
    with pytest.raises(ImageError, match="NaN"):
        diffprior.inpaint(broken, hole, prior=prior)
    with pytest.raises(ValueError, match="samples"):
        diffprior.inpaint(x, hole, prior=prior, samples=0)
    with pytest.raises(ValueError, match="sigma"):
        diffprior.inpaint(x, hole, prior=prior, sigma=-1)
    with pytest.raises(ValueError, match="generate"):
        diffprior.inpaint(x, torch.ones(1, 64, 64), prior=prior)
    with pytest.raises(ValueError, match="one of the same size"):
        diffprior.inpaint(x, pixels(32, 32, 0), prior=prior)


def test_nothing_given_is_changed(prior):
    x, hole = photograph(), pixels(64, 64, 0, 0.3)
    kept = x.clone(), hole.clone()
    diffprior.inpaint(x, hole, prior=prior, steps=2)
    assert torch.equal(x, kept[0]) and torch.equal(hole, kept[1])
    assert not prior._forward_hooks and prior.shape == (3, 256, 256)
