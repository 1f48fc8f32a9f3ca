"""Kernels that are estimated from the images that they blurred."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import diffprior
from diffprior.catalog import SettingError
from diffprior.classical import blind_kernel
from diffprior.io import files
from diffprior.operators.blur import Blur
from diffprior.operators.generators import kernels

from support import shell
from support.exact import random

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


def blurred(kernel: Tensor, x: Tensor, sigma: float = 0.005) -> Tensor:
    y = Blur(kernel)(x)
    return y + 2 * sigma * random(*y.shape, dtype=torch.float32)


def shapes() -> Tensor:
    """A drawing ``(1, 3, 128, 128)`` with edges of all directions."""
    i, j = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    x = torch.full((128, 128), -0.5)
    for n, (a, b, r) in enumerate([(40, 40, 22), (85, 80, 30), (95, 30, 14), (30, 95, 18)]):
        x[((i - a) ** 2 + (j - b) ** 2) < r**2] = 0.7 - 0.3 * n
    x[55:75, 8:60], x[64:120, 100:110] = 0.6, 0.2
    return x.expand(1, 3, -1, -1)


def alike(k: Tensor, truth: Tensor) -> float:
    """Return the largest normalized correlation of two kernels, whatever their shift."""
    size = len(k)
    product = F.conv2d(k[None, None], truth[None, None], padding=size // 2)
    return (product.max() / (k.norm() * truth.norm())).item()


@pytest.mark.parametrize("text", ["gaussian:1.5", "motion:9,30", "shake:13,0.5,1"])
def test_the_kernel_of_a_drawing_is_found(text: str) -> None:
    """Nearer to the truth than no blur, and than any Gaussian where it is none."""
    truth = kernels.kernel(text)
    k = blind_kernel.estimate(blurred(truth, shapes())[0], 17)
    assert k.shape == (17, 17) and k.min() >= 0 and abs(k.sum() - 1) < 1e-5
    wrong = [kernels.gaussian(s, 17) for s in (0.1, 1.0, 2.0, 3.0)]
    if not text.startswith("gaussian"):
        assert alike(k, truth) > max(alike(w, truth) for w in wrong)
    assert alike(k, truth) > 0.8


def test_the_kernel_is_centered() -> None:
    k = blind_kernel.estimate(blurred(kernels.kernel("motion:9,30"), shapes())[0], 17)
    i = torch.arange(17.0) - 8
    assert (i * k.sum(0)).sum().abs() <= 0.51 and (i * k.sum(1)).sum().abs() <= 0.51


def test_the_image_step_is_a_least_squares_solution() -> None:
    """With edges free (a price of next to nothing) it is the Wiener filter's limit: y deblurred."""
    x = F.avg_pool2d(random(1, 1, 40, 40), 3, 1, 1)[0, 0]
    k = kernels.gaussian(0.6, 5).double()
    y = torch.fft.irfft2(blind_kernel._otf(k, x.shape) * torch.fft.rfft2(x), x.shape)
    u = blind_kernel._edges(y, k, 1e-12)
    assert (u - x).abs().max() < 1e-3 * x.abs().max()


def test_the_kernel_step_finds_the_kernel_of_a_known_image() -> None:
    x = random(1, 1, 96, 96)[0, 0]
    k = kernels.kernel("motion:9,30").double()
    y = torch.fft.irfft2(blind_kernel._otf(k, x.shape) * torch.fft.rfft2(x), x.shape)
    assert alike(blind_kernel._kernel(x, y, 13), k) > 0.99


def test_an_unknown_blur_is_undone_through_the_door() -> None:
    x = shapes()
    y = ((blurred(kernels.kernel("motion:9,30"), x) + 1) / 2).clamp(0, 1)
    out = diffprior.deblur(y, blind=True, size=17, steps=6)
    assert out.report["blind"] and out.image.shape == y.shape
    truth = (x + 1) / 2
    error = ((out.image - truth) ** 2)[..., 8:-8, 8:-8].mean()
    assert error < 0.6 * ((y - truth) ** 2)[..., 8:-8, 8:-8].mean()


@pytest.mark.parametrize(
    "options, kind, words",
    [
        ({}, SettingError, "^give either the kernel of the blur or blind"),
        ({"kernel": "gaussian:1", "blind": True}, SettingError, "^give either the kernel"),
        ({"blind": True, "size": 10}, SettingError, "^the size of a kernel is an odd number"),
        ({"blind": True, "size": 17}, ValueError, "^a kernel of 17 pixels is not to be found"),
    ],
)
def test_what_cannot_be_is_one_sentence(options: dict, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        diffprior.deblur(torch.full((3, 32, 32), 0.5), **options)


def test_a_image_without_edges_is_left_alone() -> None:
    k = blind_kernel.estimate(torch.zeros(3, 64, 64), 9)
    assert k.isfinite().all() and abs(k.sum() - 1) < 1e-5


def test_the_command(tmp_path: Path) -> None:
    x = files.read(SAMPLES / "dog.png").images.tensor()[:, :, 110:174, 240:304]
    array = ((blurred(kernels.gaussian(1.0), x)[0] + 1) * 127.5).clamp(0, 255).byte()
    Image.fromarray(np.asarray(array.movedim(0, -1))).save(tmp_path / "dog.png")
    words = ("deblur", "dog.png", "--blind", "--size", "9", "--steps", "2", "--json")
    done = shell.texts(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["blind"] is True and (tmp_path / "dog.deblurred.png").exists()
