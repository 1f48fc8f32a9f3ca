"""Colors by likelihood: the luma is the image's, the colors of the strokes are theirs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.catalog import SettingError
from diffprior.classical.colors import EDGE, GRAY, LEAK, fit_to_luma, propagate_colors
from diffprior.io.arrays import ImageError, as_images
from diffprior.priors.mixture import MixturePrior

from support import shell
from support.exact import random

SIDE = 24
RED, BLUE = (220, 60, 60, 255), (60, 80, 220, 255)


@pytest.fixture
def photo() -> Image.Image:
    """A dark half and a bright half, with a little texture."""
    gray = np.where(np.arange(SIDE) < SIDE // 2, 90, 160)[None].repeat(SIDE, 0)
    gray = gray + np.random.default_rng(0).integers(-3, 4, gray.shape)
    return Image.fromarray(gray.astype(np.uint8)).convert("RGB")


@pytest.fixture
def layer() -> Image.Image:
    """A red stroke on the dark half, a blue one on the bright half."""
    paint = np.zeros((SIDE, SIDE, 4), np.uint8)
    paint[4:8, 3:6], paint[16:20, 17:21] = RED, BLUE
    return Image.fromarray(paint)


def chroma(image: Image.Image) -> torch.Tensor:
    x = as_images(image).tensor()
    return (x - GRAY(x))[0]


@pytest.mark.parametrize("samples", [1, 2])
def test_luma_is_the_images_and_strokes_are_theirs(photo, layer, samples: int) -> None:
    out = diffprior.colorize(photo, scribble=layer, samples=samples)
    painted, paint = np.asarray(layer)[..., 3] > 0, chroma(layer.convert("RGB"))
    wanted = fit_to_luma(as_images(layer.convert("RGB")).tensor(), GRAY(as_images(photo).tensor()))
    wanted = (wanted - GRAY(wanted))[0]
    for image in out.samples:
        luma = np.abs(np.asarray(image.convert("L"), int) - np.asarray(photo.convert("L"), int))
        assert luma.max() <= 1
        off = (chroma(image) - wanted)[:, painted]
        assert off.square().mean().sqrt() < 0.08 < 0.5 * paint[:, painted].square().mean().sqrt()


def test_colors_spread_to_their_own_side(photo, layer) -> None:
    """A pixel is nearer to the color of its half than to gray, or to the other's."""
    u = chroma(diffprior.colorize(photo, scribble=layer).image)
    paint = chroma(layer.convert("RGB"))
    red, blue = paint[:, 5, 4, None, None], paint[:, 17, 18, None, None]
    for half, own, other in ((slice(0, 11), red, blue), (slice(13, SIDE), blue, red)):
        side = u[:, :, half]
        to_own = (side - own).square().sum(0)
        assert (to_own < side.square().sum(0)).float().mean() > 0.95
        assert (to_own < (side - other).square().sum(0)).float().mean() > 0.98


def test_the_posterior_of_a_gaussian_prior() -> None:
    """Against the closed form, pixel by pixel: exact luma, and hints of their own noise."""
    C, one = torch.tensor([[0.2, 0.1, 0.05], [0.1, 0.2, 0.1], [0.05, 0.1, 0.2]]), torch.ones(1)
    covs = torch.einsum("ij,pq->ipjq", C, torch.eye(4)).reshape(1, 12, 12).double()
    prior = MixturePrior(one.double(), torch.zeros(1, 3, 2, 2).double(), covs)
    x = (0.5 + 0.1 * random(3, 2, 2, seed=1)).float()
    paint = torch.zeros(4, 2, 2)
    paint[:, 0, 1] = torch.tensor([0.7, 0.4, 0.5, 1.0])
    method = "mmps(iterations=9, sampler=ancestral(steps=60, grid='logsnr'))"
    out = diffprior.colorize(
        x, scribble=paint, hint=0.1, prior=prior, method=method, samples=300, dtype="float32"
    )
    mean = torch.stack([2 * s - 1 for s in out.samples]).double().mean(0)
    state = 2 * x[None] - 1
    color = fit_to_luma(2 * paint[None, :3] - 1, GRAY(state))
    for i, j in ((0, 0), (0, 1)):
        A = GRAY.w.reshape(1, 3)
        A = torch.cat([A, torch.eye(3)]).double() if (i, j) == (0, 1) else A.double()
        y = torch.cat([GRAY(state)[0, :, i, j], color[0, :, i, j]])[: len(A)].double()
        R = torch.diag(torch.tensor([(2 / 255) ** 2, 0.04, 0.04, 0.04]).double()[: len(A)])
        gain = C.double() @ A.T @ torch.linalg.inv(A @ C.double() @ A.T + R)
        spread = (C.double() - gain @ A @ C.double()).diagonal().clamp_min(1e-4).sqrt()
        assert ((mean[:, i, j] - gain @ y).abs() < 5 * spread / 300**0.5 + 0.01).all()


def test_fitted_keeps_luma_and_hue_in_the_range() -> None:
    colors, luma = random(2, 3, 9, 9, seed=2).clamp(-1, 1), random(2, 1, 9, 9, seed=3).clamp(-1, 1)
    x = fit_to_luma(colors, luma)
    torch.testing.assert_close(GRAY(x), luma)
    assert x.abs().max() < 1 + 1e-9
    u, v = x - luma, colors - GRAY(colors)
    cos = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1)).clamp_min(1e-9)
    assert (cos[u.norm(dim=1) > 1e-6] > 1 - 1e-6).all()
    assert (u.norm(dim=1) <= v.norm(dim=1) + 1e-9).all()


def test_spread_is_the_least_of_its_sum_of_squares() -> None:
    """Against a dense solve."""
    n = 6
    luma, colors = 0.3 * random(1, 1, n, n, seed=4), 0.2 * random(1, 3, n, n, seed=5)
    known = torch.zeros(1, 1, n, n, dtype=torch.bool)
    known[..., 1, 2], known[..., 4, 4] = True, True
    L = torch.zeros(n * n, n * n, dtype=torch.float64)
    places = torch.arange(n * n).reshape(n, n)
    for a, b in ((places[:-1], places[1:]), (places[:, :-1], places[:, 1:])):
        for i, j in zip(a.flatten(), b.flatten(), strict=True):
            d = luma.flatten()[i] - luma.flatten()[j]
            w = torch.exp(-((d / EDGE) ** 2) / 2) + LEAK
            L[i, i], L[j, j], L[i, j], L[j, i] = L[i, i] + w, L[j, j] + w, -w, -w
    free = ~known.flatten()
    u = (colors - luma).flatten(2)[0].mT.clone()
    u[free] = torch.linalg.solve(L[free][:, free], -L[free][:, ~free] @ u[~free])
    exact = fit_to_luma(luma + u.mT.reshape(1, 3, n, n), luma)
    found = propagate_colors(colors, known, luma, iterations=2000)
    torch.testing.assert_close(found, exact, atol=1e-3, rtol=0)


def test_a_mask_recolors_a_region_by_the_command(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    image = (np.array([60, 120, 60]) + rng.integers(-5, 6, (SIDE, SIDE, 3))).astype(np.uint8)
    mask, paint = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE, 4), np.uint8)
    mask[6:18, 6:18], paint[10:14, 10:14] = 255, RED
    for name, array in (("p", image), ("m", mask), ("s", paint)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    call = ["colorize", "p.png", "--mask", "m.png", "--scribble", "s.png", "-o", "out.png", "-q"]
    done = shell.texts(*call, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    out = np.asarray(Image.open(tmp_path / "out.png"))
    assert (out[mask == 0] == image[mask == 0]).all()
    inside = out[11:13, 11:13].astype(int).mean((0, 1))
    assert inside[0] > inside[1] + 40
    assert np.abs(chroma_of(out)[mask > 0] - chroma_of(image)[mask > 0]).mean() > 5


def chroma_of(array: np.ndarray) -> np.ndarray:
    return array - (array @ np.array([0.299, 0.587, 0.114]))[..., None]


def test_a_batch_is_its_images() -> None:
    one = torch.ones(3, dtype=torch.float64)
    prior = MixturePrior(one, 0.3 * random(3, 3, 16, 16, seed=6), 0.01 * one)
    batch = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    paint = torch.zeros(2, 4, 16, 16)
    paint[0, :, 2:4, 2:4], paint[1, :, 9:12, 9:12] = 0.8, 0.6
    settings = {"prior": prior, "samples": 2, "steps": 3, "dtype": "float32"}
    both = diffprior.colorize(batch, scribble=paint, ids=["a", "b"], **settings)
    for i, name in enumerate("ab"):
        one = diffprior.colorize(batch[i], scribble=paint[i], ids=[name], **settings)
        for k in range(2):
            assert torch.equal(both.samples[k][i], one.samples[k])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hint": 0.0}, r"hint lies in \(0, 1\], got 0.0"),
        ({"scribble": torch.zeros(3, 16, 16)}, "a scribble is a layer with transparency"),
        ({"scribble": torch.zeros(4, 8, 8)}, "a scribble is of the image's own size, 16x16"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(settings: dict, words: str) -> None:
    with pytest.raises((SettingError, ImageError), match=words):
        diffprior.colorize(torch.zeros(3, 16, 16), **settings)
