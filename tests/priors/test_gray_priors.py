"""Priors of gray images in the tasks that restore: gray comes in, gray goes out."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image
from torch import Tensor, nn

import diffprior
from diffprior.networks.parameterizations import Karras
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior
from diffprior.priors.network import NetworkPrior

from support import shell
from support.exact import random

CLOTHES = Path(__file__).parents[2] / "data" / "fashion" / "pictures.npz"
FULL = {"precision": "full", "device": "cpu"}
HOLE = np.zeros((28, 28), np.uint8)
HOLE[9:19, 9:19] = 255


@pytest.fixture(scope="module")
def clothes() -> np.ndarray:
    with np.load(CLOTHES) as file:
        return file["x"].reshape(-1, 28, 28)[::25]


def psnr(x: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    square = np.square(x.astype(float) - truth)
    part = square[..., where] if where is not None else square.reshape(len(x), -1)
    return float(np.mean(10 * np.log10(255**2 / part.mean(-1))))


def test_the_command_fills_clothes_better_than_classical_fills(tmp_path: Path, clothes) -> None:
    """8 held-out test images with a hidden box; gray files in, gray files out, the rest exact."""
    cv2.imwrite(str(tmp_path / "hole.png"), HOLE)
    for i, x in enumerate(clothes):
        cv2.imwrite(str(tmp_path / f"{i}.png"), x)
    names = [f"{i}.png" for i in range(len(clothes))]
    call = ["inpaint", *names, "--mask", "hole.png", "--prior", "fashion", "-o", "out/", "-q"]
    done = shell.texts(*call, "--steps", "15", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "out").iterdir())
    out = np.stack([cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files])
    assert out.shape == clothes.shape and out.dtype == np.uint8
    known = HOLE == 0
    assert np.array_equal(out[:, known], clothes[:, known])
    bars = [
        psnr(np.stack([cv2.inpaint(x, HOLE, 3, way) for x in clothes]), clothes, ~known)
        for way in (cv2.INPAINT_TELEA, cv2.INPAINT_NS)
    ]
    assert psnr(out, clothes, ~known) > max(bars) + 1


class Nothing(nn.Module):
    """A network that answers 0: under Karras preconditioning the prior is N(0, sigma_data^2)."""

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)


@pytest.fixture
def flat() -> Prior:
    return NetworkPrior(Nothing(), Karras(), (1, 64, 64))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gray_image_is_measured_once(flat: Prior, channels: int) -> None:
    """x given y is N(k y, k s^2), k = 1 / (1 + 4 s^2), whether gray is in one channel or three."""
    s = 0.4  # of [-1, 1]
    y = 0.3 * random(1, 64, 64, dtype=torch.float32).clamp(-3, 3)
    given = ((y + 1) / 2).expand(channels, -1, -1).contiguous()
    k = 0.25 / (0.25 + s**2)
    one = diffprior.denoise(given, sigma=s / 2, prior=flat, **FULL).image
    assert one.shape == (channels, 64, 64)
    torch.testing.assert_close(2 * one - 1, (k * y).expand_as(one), rtol=0, atol=1e-3)
    two = diffprior.denoise(given, sigma=s / 2, prior=flat, samples=2, **FULL)
    gap = 2 * (two.samples[0] - two.samples[1])[0]
    assert abs(float(gap.square().mean()) / (2 * k * s**2) - 1) < 0.2  # clipped
    chi2 = ((1 - k) ** 2 * y.square().mean() + k * s**2) / s**2
    assert two.report["chi2"][0] == pytest.approx(float(chi2), rel=0.2)


def test_noise_is_cleaned(clothes) -> None:
    rng = np.random.default_rng(0)
    y = (clothes + 20 * rng.standard_normal(clothes.shape)).clip(0, 255).round().astype(np.uint8)
    given = torch.from_numpy(y)[:, None]
    out = diffprior.denoise(given, sigma=20 / 255, prior="fashion", **FULL).image
    assert psnr(out[:, 0].numpy(), clothes) > psnr(y, clothes) + 5
    auto = diffprior.denoise(given, prior="fashion", **FULL).report["sigma"]
    assert all(0.03 < sigma < 0.1 for sigma in auto)


def test_a_gray_jpeg_is_cleaned_within_its_cells(clothes) -> None:
    """Saved again at the same quality, nearly all its coefficients are the file's."""
    before, after, same, pale = [], [], [], clothes[:4] // 2 + 64
    for x in pale:
        file = BytesIO()
        Image.fromarray(x).save(file, "JPEG", quality=20)
        jpeg = Image.open(file)
        out = diffprior.dejpeg(jpeg, prior="fashion", **FULL).image
        assert out.mode == "L"
        before.append(np.asarray(jpeg))
        after.append(np.asarray(out))
        again = BytesIO()
        out.save(again, "JPEG", quality=20)
        same.append(np.abs(np.asarray(Image.open(again)).astype(int) - before[-1]).mean())
    assert psnr(np.stack(after), pale) > psnr(np.stack(before), pale) + 0.5
    assert np.mean(same) < 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny one-channel network, as diffusers saves it."""
    torch.manual_seed(0)
    folder, blocks = tmp_path_factory.mktemp("grey"), {"block_out_channels": (8, 16)}
    kinds = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    sizes = {"sample_size": 16, "in_channels": 1, "out_channels": 1, "layers_per_block": 1}
    UNet2DModel(**sizes, **blocks, **kinds, norm_num_groups=4).save_pretrained(folder / "unet")
    DDPMScheduler().save_pretrained(folder / "scheduler")
    return folder


TASKS = {
    "inpaint": lambda x: (x, torch.eye(16)),
    "restore": lambda x: (x, torch.eye(16)),
    "denoise": lambda x: (x,),
    "super_resolve": lambda x: (x, 2),
    "deblur": lambda x: (x, "gaussian:1"),
    "dejpeg": lambda x: (x,),
    "sdedit": lambda x: (x,),
}


@pytest.mark.filterwarnings("ignore:the residual is")
@pytest.mark.parametrize("task", TASKS)
def test_every_task_takes_a_gray_folder(folder: Path, task: str) -> None:
    """Twice the same batch; in three equal channels it comes back in three equal ones."""
    x = random(2, 1, 16, 16, dtype=torch.float32).sigmoid()
    more = {"quality": 30} if task == "dejpeg" else {"seed": 1}
    settings = {"prior": load_prior(folder), **more, **FULL}
    out = getattr(diffprior, task)(*TASKS[task](x), **settings).image
    side = 32 if task == "super_resolve" else 16
    assert out.shape == (2, 1, side, side) and bool((out != out.mean()).any())
    wide = getattr(diffprior, task)(*TASKS[task](x.repeat(1, 3, 1, 1)), **settings).image
    assert wide.shape == (2, 3, side, side)
    torch.testing.assert_close(wide, out.expand_as(wide), rtol=0, atol=2e-3)


def test_numbers_of_a_gray_operator(tmp_path: Path, clothes) -> None:
    """Means of four pixels of clothes, as numbers, through the command line."""
    small = clothes[0].reshape(14, 2, 14, 2).mean((1, 3))
    y = (2 * small / 255 - 1).astype(np.float32)
    np.save(tmp_path / "y.npy", y[None])
    call = ["reconstruct", "y.npy", "--width", "28", "-q"]
    call += ["--height", "28", "--operator", "average(factor=2)", "--prior", "fashion"]
    done = shell.texts(*call, "-o", "x.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    out = cv2.imread(str(tmp_path / "x.png"), cv2.IMREAD_UNCHANGED)
    assert out.shape == (28, 28)
    assert np.abs(out.reshape(14, 2, 14, 2).mean((1, 3)) - small).mean() < 1
    enlarged = cv2.resize(small, (28, 28), interpolation=cv2.INTER_CUBIC)
    assert psnr(out[None], clothes[:1]) > psnr(enlarged[None], clothes[:1])


@pytest.mark.parametrize(
    "task", [diffprior.colorize, lambda *a, **k: diffprior.restore(*a, gray=True, **k)]
)
def test_colors_are_not_to_be_had(flat: Prior, task) -> None:
    with pytest.raises(ValueError, match="is one of gray images, and knows no colors"):
        task(torch.zeros(3, 64, 64), prior=flat, **FULL)
