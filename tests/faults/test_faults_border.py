"""Blurs of photographs, which reach in from beyond the border: the scene is blurred, then cut."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import fftconvolve
from torch import Tensor

import diffprior
from diffprior.classical import blind_kernel
from diffprior.operators.generators.kernels import kernel

from support import shell

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
SIDE = 72


def photograph(
    k: Tensor, sigma: float, name: str = "city", side: int = SIDE
) -> tuple[np.ndarray, np.ndarray]:
    """Return a photograph through a moved camera and the truth, uint8 ``(side, side, 3)``.

    The scene is blurred by scipy; what depends on nothing outside of it is the photograph.
    """
    h, w = k.shape
    pixels = np.asarray(Image.open(SAMPLES / f"{name}.png").convert("RGB"), np.float64) / 255
    top, left = ((n - side) // 2 - 20 for n in pixels.shape[:2])
    scene = pixels[top : top + side + h - 1, left : left + side + w - 1]
    taps = k.double().numpy()[..., None]
    y = fftconvolve(scene, taps, mode="valid", axes=(0, 1))
    y = y + sigma * np.random.default_rng(0).standard_normal(y.shape)
    above, before = h - 1 - h // 2, w - 1 - w // 2
    truth = scene[above : above + side, before : before + side]
    return bytes_of(y), bytes_of(truth)


def bytes_of(x: np.ndarray) -> np.ndarray:
    return (255 * x).round().clip(0, 255).astype(np.uint8)


def psnr(x: np.ndarray, truth: np.ndarray, inset: int = 0) -> float:
    inner = slice(inset, x.shape[0] - inset)
    error = (x.astype(float) - truth.astype(float))[inner, inner]
    return float(10 * np.log10(255**2 / (error**2).mean()))


def gains(x: np.ndarray, y: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return how many dB the whole image and its interior gained."""
    whole, inner = (psnr(x, truth, n) - psnr(y, truth, n) for n in (0, 16))
    return whole, inner


def moved_to_a_corner() -> Tensor:
    """A motion in one quarter of its frame: it reaches to two sides only."""
    k = torch.zeros(21, 21)
    k[:9, :9] = torch.eye(9) / 9
    return k


KERNELS = {
    "long motion": kernel("motion:25,0"),
    "slanted motion": kernel("motion:15,45"),
    "even box": kernel("uniform:8"),
    "shake": kernel("shake:25,0.5,1"),
    "flat kernel": torch.ones(1, 12) / 12,
    "corner": moved_to_a_corner(),
    "in a wide black frame": torch.nn.functional.pad(kernel("motion:15,45"), (9, 9, 9, 9)),
}
PADS = ((0, 0, 0, 0), (2, 2, 2, 2), (6, 7, 12, 12))  # to 25 x 25, the middle in the middle


@pytest.mark.saw("a photograph moved by 25 pixels came back worse than it was, and chi2 was 1")
@pytest.mark.parametrize("name", KERNELS)
def test_a_blur_that_reaches_in_is_undone(name: str) -> None:
    y, truth = photograph(KERNELS[name], 0.01)
    out = diffprior.deblur(y, KERNELS[name], sigma=0.01, steps=12)
    assert out.image.shape == y.shape and out.report["boundary"] == "free"
    assert min(gains(out.image, y, truth)) > 3
    assert 0.5 < out.report["chi2"][0] < 1.5


@pytest.mark.saw("a soft photograph got bands along its border")
def test_the_border_of_a_gaussian_blur_is_as_good_as_the_middle() -> None:
    k = kernel("gaussian:3")
    y, truth = photograph(k, 0.01)
    out = diffprior.deblur(y, k, sigma=0.01, steps=12).image
    mirrored = diffprior.deblur(y, k, sigma=0.01, steps=12, boundary="reflect").image
    whole, inner = gains(out, y, truth)
    assert inner > 2 and whole > inner - 0.7
    assert psnr(out, truth) > psnr(mirrored, truth) + 1


@pytest.mark.saw("the estimated noise of a moved photograph did not help either")
@pytest.mark.parametrize("sigma", [0.01, 0.03])
def test_the_noise_of_a_cut_photograph_is_estimated(sigma: float) -> None:
    y, truth = photograph(KERNELS["long motion"], sigma)
    out = diffprior.deblur(y, "motion:25,0", steps=12)
    assert out.report["sigma"][0] == pytest.approx(sigma, rel=0.2)
    assert min(gains(out.image, y, truth)) > 3


@pytest.mark.saw("deblur made a file of a moved photograph worse, without a warning")
@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_the_command_undoes_it(tmp_path: Path, mode: str) -> None:
    y, truth = photograph(KERNELS["long motion"], 0.01)
    if mode == "I;16":
        y, truth = (np.asarray(Image.fromarray(x).convert("L")) for x in (y, truth))
    stored = y.astype(np.uint16) * 257 if mode == "I;16" else y
    Image.fromarray(stored).save(tmp_path / "blurred.png")
    words = ("deblur", "blurred.png", "--kernel", "motion:25,0", "--sigma", "0.01", "--json")
    done = shell.diffprior(*words, "-o", "out.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["boundary"] == "free"
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == mode and image.size == (SIDE, SIDE)
        x = np.asarray(image) / (257 if mode == "I;16" else 1)
    assert min(gains(x, y, truth)) > 3


@pytest.mark.saw("restore --blur drew stripes along the border of an old photograph")
def test_an_old_photograph_is_mended_up_to_its_border() -> None:
    k = kernel("motion:15,45")
    y, truth = photograph(k, 0.01)
    lost = np.zeros((SIDE, SIDE), bool)
    lost[30:33] = lost[:, 2:4] = True
    y = np.where(lost[..., None], 0, y).astype(np.uint8)
    out, mirrored = (
        diffprior.restore(y, lost, blur="motion:15,45", sigma=0.01, steps=8, **more).image
        for more in ({}, {"boundary": "reflect"})
    )
    assert psnr(out, truth) > psnr(y, truth) + 3 and psnr(out, truth) > psnr(mirrored, truth) + 1.5


@pytest.mark.saw("one image of a batch with kernels of their own came out otherwise than alone")
def test_images_with_kernels_of_their_own_are_those_alone() -> None:
    names = ("long motion", "corner", "flat kernel")
    sizes = [torch.nn.functional.pad(KERNELS[n], pad) for n, pad in zip(names, PADS, strict=True)]
    pairs = [photograph(k, 0.01, side=40) for k in sizes]
    y = torch.stack([torch.from_numpy(y).movedim(-1, 0) / 255 for y, _ in pairs])
    k = torch.stack(sizes)
    batch = diffprior.deblur(y, k, sigma=0.01, steps=6).image
    for i in range(3):
        assert torch.equal(batch[i], diffprior.deblur(y[i], k[i], sigma=0.01, steps=6).image)


@pytest.mark.saw("samples of a moved photograph all rang alike")
def test_samples_explain_a_cut_photograph() -> None:
    y, truth = photograph(KERNELS["slanted motion"], 0.03, side=48)
    out = diffprior.deblur(y, "motion:15,45", sigma=0.03, samples=2)
    assert 0.8 < out.report["chi2"][0] < 1.2
    assert psnr(out.mean, truth, 8) > psnr(y, truth, 8) + 2
    assert out.std.shape == y.shape and out.std.min() > 0


@pytest.mark.saw("a kernel wider than the photograph was refused")
def test_a_kernel_may_be_wider_than_the_photograph() -> None:
    k = kernel("motion:41,0")
    y, truth = photograph(k, 0.01, side=32)
    out = diffprior.deblur(y, k, sigma=0.01)
    assert out.image.shape == y.shape and psnr(out.image, truth) > psnr(y, truth) + 1


@pytest.mark.saw("seams of the windows of a large photograph showed after deblur")
def test_a_photograph_in_windows_is_that_in_one() -> None:
    y, truth = photograph(KERNELS["slanted motion"], 0.01, side=120)
    whole, parts = (
        diffprior.deblur(y, "motion:15,45", sigma=0.01, tile_size=n, steps=5).image
        for n in (None, 128)
    )
    assert abs(psnr(whole, truth) - psnr(parts, truth)) < 0.5
    assert psnr(parts, truth) > psnr(y, truth) + 2


@pytest.mark.saw("deblur --blind of a cut photograph followed its border")
def test_a_kernel_is_found_as_well_in_a_cut_photograph() -> None:
    """As well as in one whose borders wrap around, which the estimate's transforms assume."""
    k = kernel("motion:9,30")
    cut, truth = photograph(k, 0.005, name="house", side=160)
    round_about = np.pad(truth / 255, ((7, 7), (7, 7), (0, 0)), mode="wrap")
    wrapped = fftconvolve(round_about, k.double().numpy()[..., None], mode="same", axes=(0, 1))
    wrapped = bytes_of(wrapped[7:-7, 7:-7])
    found, expected = (alike(blind_kernel.estimate(files_tensor(x), 15), k) for x in (cut, wrapped))
    assert found > 0.6 and found > expected - 0.1


def files_tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x).movedim(-1, 0).float() / 127.5 - 1


def alike(k: Tensor, truth: Tensor) -> float:
    """Return the largest normalized correlation of two kernels, whatever their shift."""
    full = fftconvolve(k.numpy(), truth.flip(0, 1).numpy())
    return float(full.max() / (k.norm() * truth.norm()))
