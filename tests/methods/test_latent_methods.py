"""What answers behind a decoder where no method is given: on exact problems, and in every task."""

import json
import re
import warnings
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import diffprior
from diffprior.catalog import build
from diffprior.diffusions import GaussianDiffusion
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.networks.parameterizations import Discrete
from diffprior.operators.average import Average
from diffprior.operators.base import Operator
from diffprior.operators.blur import Blur
from diffprior.operators.generators.kernels import kernel
from diffprior.operators.mask import Mask
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import show_image
from diffprior.priors.latent import LatentPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.runtime.problem import BEHIND
from diffprior.samplers.ddim import DDIM

from support import shell, tiny
from support.exact import random

LATENT, IMAGE, COUNT, SIGMA = (4, 8, 8), (3, 16, 16), 6, 0.05
FULL = {"precision": "full", "device": "cpu"}
PROBLEMS = ("box", "half", "blur", "small")


def latents() -> MixturePrior:
    """Five Gaussians of correlated latents, on the noise of Stable Diffusion."""
    places = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0)).double()
    far, covs = torch.cdist(places, places), []
    for k, length in enumerate((1, 2, 3, 4, 6)):
        L = random(4, 4, seed=k)
        mixed = L @ L.mT / 4 + 0.2 * torch.eye(4, dtype=torch.float64)
        covs.append(0.7 * torch.kron(mixed, (-far / length).exp()) + 0.014 * torch.eye(256))
    means = 0.7 * F.interpolate(random(5, 4, 3, 3, seed=9), (8, 8), mode="bicubic")
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    diffusion = GaussianDiffusion(Discrete((1 - betas).cumprod(0)).schedule)
    return MixturePrior(torch.ones(5).double(), means, torch.stack(covs), diffusion)


class Decoder:
    """Blocks that overlap, and their pseudo-inverse; curved, it ends in a tanh."""

    def __init__(self, curved: bool) -> None:
        gains = torch.tensor([1.6, 1.0, 0.7, 0.4], dtype=torch.float64).reshape(-1, 1, 1, 1)
        self.weight, self.curved = 0.16 * gains * random(4, 3, 4, 4, seed=3), curved
        basis = torch.eye(256, dtype=torch.float64).reshape(-1, *LATENT)
        self.inverse = torch.linalg.pinv(self.linear(basis).flatten(1).mT)

    def linear(self, z: Tensor) -> Tensor:
        return F.conv_transpose2d(z, self.weight, stride=2, padding=1)

    def decode(self, z: Tensor) -> Tensor:
        return self.linear(z).tanh() if self.curved else self.linear(z)

    def encode(self, x: Tensor) -> Tensor:
        x = x.clamp(-0.999, 0.999).atanh() if self.curved else x
        return (x.flatten(1) @ self.inverse.mT).reshape(-1, *LATENT)


def operator(name: str) -> Operator:
    keep = torch.ones(1, 16, 16, dtype=torch.float64)
    keep[:, 4:12, 5:13] = 0
    half = (random(1, 16, 16, seed=5) > 0).double()
    return {
        "box": lambda: Mask(keep),
        "half": lambda: Mask(half),
        "blur": lambda: Blur(kernel("gaussian:1.2").double()),
        "small": lambda: Average(2).for_shape(IMAGE).double(),
    }[name]()


def psnr(x: Tensor, truth: Tensor) -> float:
    return float((10 * (4 / (x - truth).square().flatten(1).mean(1)).log10()).mean())


Cell = tuple[float, float]  # PSNR and chi2


def answered(text: str, name: str, curved: bool = False) -> Cell:
    decoder, inner = Decoder(curved), latents()
    prior = LatentPrior(inner, decoder.encode, decoder.decode, stride=2)
    x, A = decoder.decode(inner.sample(Noise(11, range(COUNT)))), operator(name)
    y = A(x) + SIGMA * random(*A(x).shape, seed=1)
    known = GaussianLikelihood(operator=A, y=A.mask_unmeasured(y), sigma=SIGMA)
    with warnings.catch_warnings(action="ignore"):
        out = build(text, ("methods",))(prior, known, n=2, ids=range(COUNT), batch_size=1000)
    each, out = torch.arange(COUNT).repeat_interleave(2), out.flatten(0, 1)
    return psnr(out, x[each]), float(known.select(each).chi2(out).mean())


def exact(name: str) -> tuple[float, float]:
    """Return the PSNR of the posterior's mean and of draws from it."""
    decoder, inner = Decoder(False), latents()
    x, A, scores = decoder.decode(inner.sample(Noise(11, range(COUNT)))), operator(name), []
    y = A.mask_unmeasured(A(x) + SIGMA * random(*A(x).shape, seed=1))
    for i in range(COUNT):
        one = GaussianLikelihood(operator=A, y=y[i : i + 1], sigma=SIGMA).through(decoder.linear)
        posterior = inner.posterior(one)
        mean = (posterior.log_weights.exp() @ posterior.means).reshape(1, *LATENT)
        drawn = decoder.linear(posterior.sample(Noise(4, range(4))))
        truth = x[i : i + 1]
        scores.append((psnr(decoder.linear(mean), truth), psnr(drawn, truth.expand_as(drawn))))
    mean, draw = torch.tensor(scores).mean(0).tolist()
    return mean, draw


@pytest.fixture(scope="module")
def table() -> dict[str, list[list[float]]]:
    """The table of docs/methods.md: PSNR, and chi2 where it has it, by the first word of a row."""
    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
    lines = text.split("## Latent priors")[1].split("\n## ")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]
    return {
        re.findall(r"[a-z]+", row[0].removeprefix("an "))[0]: [
            [float(number) for number in re.findall(r"\d+\.\d+", cell)] for cell in row[1:]
        ]
        for row in rows
    }


@pytest.mark.parametrize("text", BEHIND)
def test_the_defaults_are_as_good_as_the_docs_say(table, text: str) -> None:
    for name in ("box", "half", "small"):
        quality, chi2 = table[text.split("(")[0]][PROBLEMS.index(name)]
        found = answered(text, name)
        assert abs(found[0] - quality) < 0.2 and abs(found[1] - chi2) < 0.1, (name, found)


def test_what_the_defaults_are_near_to(table) -> None:
    """One answer and several are as near as draws to half a dB; DPS is two below."""
    mean, drawn = exact("small")
    assert abs(table["the"][3][0] - mean) < 0.1 and abs(table["exact"][3][0] - drawn) < 0.1
    one, several, dps, draw = (
        sum(cell[0] for cell in table[k]) / 4 for k in ("resample", "daps", "dps", "exact")
    )
    assert abs(one - draw) < 0.5 and abs(several - draw) < 0.5 and dps < several - 2
    assert all(0.85 < chi2 < 1.3 for name in ("resample", "daps") for _, chi2 in table[name])


@pytest.mark.parametrize("text", BEHIND)
def test_a_decoder_that_is_curved(text: str) -> None:
    for name in ("box", "small"):
        quality, chi2 = answered(text, name, curved=True)
        assert quality > {"box": 25, "small": 20}[name] and 0.8 < chi2 < 1.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sd")
    tiny.stable_diffusion(folder)
    return folder


def photo(*shape: int) -> Tensor:
    return random(*shape, dtype=torch.float32).sigmoid()


def jpeg(x: Tensor) -> Image.Image:
    file = BytesIO()
    Image.fromarray((255 * x).byte().movedim(0, -1).numpy()).save(file, "JPEG", quality=20)
    return Image.open(file)


TASKS = {
    "inpaint": lambda x: (x, torch.eye(*x.shape[1:])),
    "restore": lambda x: (x, torch.eye(*x.shape[1:])),
    "denoise": lambda x: (x,),
    "super_resolve": lambda x: (x, 2),
    "colorize": lambda x: (x,),
    "deblur": lambda x: (x, "gaussian:1"),
    "dejpeg": lambda x: (jpeg(x),),
    "reconstruct": lambda x: (2 * x[:, ::2, ::2] - 1, "decimate(factor=2)"),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_task_needs_no_method_for_latents(folder: Path, task: str) -> None:
    """Each answers from the image, one by ReSample, several by DAPS."""
    prior, given = load_prior(folder), TASKS[task](photo(3, 18, 20))
    more = {"width": 20, "height": 18} if task == "reconstruct" else {}
    with warnings.catch_warnings(action="ignore"):
        out = getattr(diffprior, task)(*given, prior=prior, steps=2, **more, **FULL)
        two = getattr(diffprior, task)(*given, prior=prior, steps=2, samples=2, **more, **FULL)
    assert "ReSample(" in out.report["method"] and len(two.samples) == 2
    assert ("DAPS(" in two.report["method"]) == (task != "dejpeg")
    a, b = (np.asarray(sample) for sample in two.samples)
    assert not np.array_equal(a, b)


def test_known_pixels_stay_and_texture_is_for_pixels(folder: Path) -> None:
    prior, x, mask = load_prior(folder), photo(3, 18, 20), torch.zeros(18, 20)
    mask[5:9, 3:8] = 1
    with warnings.catch_warnings(action="ignore"):
        out = diffprior.inpaint(x, mask, prior=prior, samples=2, steps=2, **FULL)
    assert all(torch.equal(y[:, mask == 0], x[:, mask == 0]) for y in out.samples)
    with pytest.raises(ValueError, match="for a prior of pixels"):
        diffprior.inpaint(x, mask, prior=prior, fill="texture", **FULL)


def test_the_command_needs_no_method(folder: Path, tmp_path: Path) -> None:
    image, mask = (tmp_path / f"{name}.png" for name in ("picture", "mask"))
    x, hole = np.full((18, 20, 3), 90, np.uint8), np.zeros((18, 20), np.uint8)
    hole[4:9, 6:11] = 255
    cv2.imwrite(str(image), x)
    cv2.imwrite(str(mask), hole)
    call = ["inpaint", image, "--mask", mask, "--json", "-q"]
    done = shell.texts(*call, "--prior", folder, "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["method"].startswith("ReSample(")
    out = cv2.imread(str(tmp_path / "picture.inpainted.png"))
    assert np.array_equal(out[hole == 0], x[hole == 0]) and (out != x)[hole > 0].any()


def test_a_fill_hears_what_it_is_to_show(folder: Path) -> None:
    """A prompt, of latents; a class, of clothes: the right one fills better than the wrong one."""
    x, mask = photo(3, 16, 16), torch.zeros(16, 16)
    mask[4:9, 6:12] = 1
    prior = load_prior(folder)
    settings = {"prior": prior, "steps": 2, "guidance": 2.0, **FULL}
    with warnings.catch_warnings(action="ignore"):
        cat, dog = (diffprior.inpaint(x, mask, prompt=p, **settings) for p in ("a cat", "a dog"))
    assert not torch.equal(cat.image, dog.image)
    assert cat.report["prompt"] == "a cat" and cat.report["guidance"] == 2.0
    with np.load(Path(__file__).parents[2] / "data" / "fashion" / "pictures.npz") as file:
        clothes = torch.from_numpy(file["x"]).reshape(-1, 1, 28, 28).float() / 255
        labels = torch.from_numpy(file["y"]).long()
    boots, hole = clothes[labels == 9][:4], torch.zeros(28, 28)
    hole[:18] = 1
    settings = {"prior": "fashion", "steps": 20, **FULL}
    error = [
        (diffprior.inpaint(boots, hole, label=c, **settings).image - boots).square() for c in (9, 0)
    ]
    assert error[0].mean() < 0.7 * error[1].mean()


def test_a_network_that_fills_holes_fills_them_itself(tmp_path: Path) -> None:
    """By default it is sampled, each image and hole shown to it; a method is given the same."""
    tiny.stable_diffusion(tmp_path, unet=tiny.unet(in_channels=9))
    prior, x, mask = load_prior(tmp_path, prompt="a cat"), photo(2, 3, 16, 16), torch.zeros(16, 16)
    mask[4:8, 6:12] = 1
    out = diffprior.inpaint(x, mask, prior=prior, steps=3, seed=5, **FULL)
    z = Noise(5).normal(torch.empty(1, 4, 8, 8))
    _, sigma = prior.diffusion.schedule(torch.ones(()))
    for i in range(2):
        shown = show_image(prior, 2 * x[i : i + 1] - 1, mask[None, None])
        with torch.no_grad():
            fill = (prior.decode(DDIM(steps=3)(shown, sigma * z)).clamp(-1, 1) + 1) / 2
        expected = torch.where(mask > 0, fill[0], x[i])
        torch.testing.assert_close(out.image[i], expected, rtol=0, atol=1e-5)
    with warnings.catch_warnings(action="ignore"):
        noisy = diffprior.inpaint(x, mask, prior=prior, steps=2, sigma=0.05, **FULL)
    assert "ReSample(" in noisy.report["method"] and len(noisy.report["chi2"]) == 2
