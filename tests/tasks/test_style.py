"""Style and blending: what is to be another's is another's, and what is to stay stays."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.catalog import SettingError
from diffprior.io.arrays import ImageError
from diffprior.operators.bicubic import Bicubic
from diffprior.priors._conditions import ConditionalPrior
from diffprior.priors.latent import LatentPrior
from diffprior.priors.mixture import MixturePrior

from support import shell
from support.exact import random

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def mixture() -> MixturePrior:
    """Four grays with a little noise of their own."""
    means = torch.tensor([-0.3, -0.1, 0.1, 0.3]).double().reshape(4, 1, 1, 1).expand(4, *SHAPE)
    one = torch.ones(4, dtype=torch.float64)
    return MixturePrior(one, means.contiguous(), 0.01 * one)


@pytest.fixture(scope="module")
def pair() -> torch.Tensor:
    """Two images in [0, 1] of 32 x 32, away from black and white."""
    x = random(2, 3, 5, 5, seed=2).float()
    return 0.5 + 0.08 * torch.nn.functional.interpolate(x, (32, 32), mode="bicubic")


@pytest.mark.parametrize("factor", [4, 5, 16])
@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_low_frequencies_are_the_references(pair, factor: int, strength: float) -> None:
    settings = {"factor": factor, "strength": strength, "samples": 2, "steps": 5}
    out = diffprior.style(pair[0], pair[1], **settings)
    A = Bicubic(factor).for_shape((3, 32, 32))
    for x in out.samples:
        torch.testing.assert_close(A(x[None]), A(pair[1:]), atol=1e-4, rtol=0)
    assert (out.samples[0] - out.samples[1]).abs().mean() > 1e-3


def test_a_reference_of_another_size_is_brought_to_the_images(pair) -> None:
    large = torch.nn.functional.interpolate(pair[1:], (64, 96), mode="bicubic")[0]
    small = torch.nn.functional.interpolate(large[None], (32, 32), mode="bicubic", antialias=True)
    out, A = (
        diffprior.style(pair[0], large, factor=8, steps=5).image,
        Bicubic(8).for_shape((3, 32, 32)),
    )
    torch.testing.assert_close(A(out[None]), A(small), atol=1e-4, rtol=0)


def test_details_are_the_images_at_a_small_strength(pair) -> None:
    """And the lower the strength, the more of them."""
    A, kept = Bicubic(8).for_shape((3, 32, 32)), []
    x = pair[:1] + 0.05 * random(1, 3, 32, 32, seed=7).float()
    fine = x - A.pinv(A(x))
    for strength in (0.02, 0.1, 0.5):
        y = diffprior.style(x[0], pair[1], factor=8, strength=strength, steps=6).image[None]
        own = y - A.pinv(A(y))
        kept.append(float((own * fine).sum() / (fine * fine).sum()))
    assert kept[0] > 0.5 and kept == sorted(kept, reverse=True)


def test_a_style_of_a_mixture_is_its_posterior(mixture) -> None:
    """Whoever is told one mean is sure of the gray: details are the prior's, of deviation 0.1."""
    gray = torch.full(SHAPE, 0.55)
    out = diffprior.style(gray, factor=16, strength=1.0, prior=mixture, samples=16, steps=200)
    x = 2 * torch.stack(out.samples).double() - 1
    assert (x.mean((2, 3)) - 0.1).abs().max() < 1e-4
    assert abs(float((x - 0.1).std()) - 0.1) < 0.01


def test_a_blend_redraws_the_region_alone(mixture) -> None:
    """Whatever was there: round about it is the gray of one component, and so it becomes inside."""
    inside = torch.zeros(1, 16, 16, dtype=torch.bool)
    inside[:, 4:12, 4:12] = True
    x = 0.65 + 0.05 * random(*SHAPE, seed=5).float()
    x = torch.where(inside, 0.1, x)
    out = diffprior.blend(x, inside, prior=mixture, samples=16, steps=40, repeats=2)
    for y in out.samples:
        assert torch.equal(y[:, ~inside[0]], x[:, ~inside[0]])
    drawn = torch.stack([2 * y[:, inside[0]] - 1 for y in out.samples])
    assert abs(float(drawn.mean()) - 0.3) < 0.01 and abs(float(drawn.std()) - 0.1) < 0.02


def test_a_blend_by_the_command_leaves_the_rest_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (40, 52, 3)).astype(np.uint8), np.zeros((40, 52), np.uint8)
    mask[10:20, 15:30] = 255
    Image.fromarray(image).save(tmp_path / "p.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    call = ["blend", "p.png", "--mask", "m.png", "--steps", "3", "--repeats", "1", "-q"]
    done = shell.texts(*call, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    out = np.asarray(Image.open(tmp_path / "p.blended.png"))
    assert (out[mask == 0] == image[mask == 0]).all() and (out[mask > 0] != image[mask > 0]).any()


class Grays(ConditionalPrior):
    """Dark images, class 0, and bright ones, class 1."""

    def __init__(self) -> None:
        super().__init__()
        one, means = torch.ones(1).double(), torch.full((1, *SHAPE), 0.4).double()
        whole = MixturePrior(
            torch.ones(2).double(), torch.cat([-means, means]), 0.01 * torch.ones(2).double()
        )
        parts = [MixturePrior(one, mean, 0.01 * one) for mean in (-means, means)]
        self.parts = torch.nn.ModuleList([*parts, whole])
        self.classes = 2
        self.diffusion, self.shape = whole.diffusion, whole.shape

    def for_label(self, label: int | None) -> "Grays":
        return self._replace(label=label)

    def forward(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.parts[2 if self.label is None else self.label](x_t, t)


@pytest.mark.parametrize(("label", "gray"), [(0, -0.4), (1, 0.4)])
def test_a_label_says_what_is_drawn(label: int, gray: float) -> None:
    mask = torch.ones(1, 16, 16)
    mask[:, 0, 0] = 0
    settings = {"prior": Grays(), "label": label, "steps": 20}
    blended = diffprior.blend(
        torch.full(SHAPE, 0.5), mask, guidance_scale=1.0, repeats=1, **settings
    )
    assert abs(float(2 * blended.image.mean() - 1) - gray) < 0.03
    assert blended.report["label"] == label
    own = torch.full(SHAPE, (gray + 1) / 2)
    near = diffprior.variations(own, strength=0.2, samples=1, **settings).image
    between = diffprior.interpolate(own, own, samples=2, **settings).image
    assert (near - own).abs().max() < 0.15 and (between - own).abs().max() < 0.01
    with pytest.raises(SettingError, match="label=0 needs a class-conditional prior"):
        diffprior.style(own, factor=4, label=0, prior=settings["prior"].parts[0])


def test_latents_are_what_is_styled_and_blended() -> None:
    """Behind a decoder that doubles pixels: a cell is redrawn where the mask touches it."""
    one = torch.ones(1, dtype=torch.float64)
    inner = MixturePrior(one, torch.zeros(1, 3, 8, 8, dtype=torch.float64), 0.04 * one)
    prior = LatentPrior(
        inner,
        lambda x: torch.nn.functional.avg_pool2d(x, 2),
        lambda z: z.repeat_interleave(2, -1).repeat_interleave(2, -2),
        stride=2,
    )
    x, y = 0.5 + 0.1 * random(2, 3, 16, 16, seed=8)
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[:, 4:9, 4:9] = True
    out = diffprior.blend(x, mask, prior=prior, steps=20, repeats=1).image
    assert torch.equal(out[:, ~mask[0]], x[:, ~mask[0]])
    assert (out[:, 8, 4:9] - x[:, 8, 4:9]).abs().min() > 0
    out = diffprior.style(x, y, factor=8, strength=0.3, prior=prior, steps=20).image
    A, halved = (
        Bicubic(4).for_shape((3, 8, 8)),
        torch.nn.functional.avg_pool2d(torch.stack([out, y]), 2),
    )
    torch.testing.assert_close(*A(halved), atol=1e-3, rtol=0)
    near = diffprior.variations(x, strength=0.05, prior=prior, samples=1, steps=20).image
    assert (near - prior.decode(prior.encode(x[None]))[0]).abs().mean() < 0.02
    with pytest.raises(SettingError, match="whole number from 4 to"):
        diffprior.style(x, factor=3, prior=prior)


def test_a_batch_is_its_images(mixture) -> None:
    batch = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(2, 1, 16, 16)
    masks[0, :, :8], masks[1, :, 4:12, 4:12] = 1, 1
    settings = {"prior": mixture, "samples": 2, "steps": 4, "dtype": "float32"}
    blended = diffprior.blend(batch, masks, ids=["a", "b"], **settings)
    styled = diffprior.style(batch, batch.flip(0), factor=4, ids=["a", "b"], **settings)
    for i, name in enumerate("ab"):
        one = diffprior.blend(batch[i], masks[i], ids=[name], **settings)
        two = diffprior.style(batch[i], batch[1 - i], factor=4, ids=[name], **settings)
        for k in range(2):
            assert torch.equal(blended.samples[k][i], one.samples[k])
            assert torch.equal(styled.samples[k][i], two.samples[k])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: diffprior.style(x, strength=0), r"strength lies in \(0, 1\], got 0"),
        (lambda x: diffprior.style(x, factor=64), "from 2 to the image's short side, 32; got 64"),
        (lambda x: diffprior.style(x, factor=1), "got 1"),
        (lambda x: diffprior.style(x, torch.zeros(2, 3, 8, 8), factor=4), "a reference is of the"),
        (lambda x: diffprior.blend(x, x[:1], repeats=0), "repeats are 1 or more"),
        (lambda x: diffprior.blend(x, x[:1, :8, :8]), "the mask is 8x8 but the image is 32x32"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(pair, call, words: str) -> None:
    with pytest.raises((SettingError, ImageError), match=words):
        call(pair[0])
