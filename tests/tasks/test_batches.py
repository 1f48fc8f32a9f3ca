"""run(batch)[i] == run([i]), to the bit: no image's answer hangs on its neighbors."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import diffprior
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import denoise_vjp

X = torch.rand(3, 3, 24, 40, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(1, 24, 40)
MASK[:, 8:16, 10:20] = 1
TASKS: dict[str, Callable[..., Any]] = {
    "blend": partial(diffprior.blend, mask=MASK, repeats=1),
    "colorize": diffprior.colorize,
    "deblur": partial(diffprior.deblur, kernel="gaussian:1", sigma=0.0),
    "deblur, sampled": partial(diffprior.deblur, kernel="motion:5,30", sigma=0.02, samples=2),
    "denoise": partial(diffprior.denoise, sigma=0.1),
    "edit": partial(diffprior.edit, mask=MASK),
    "inpaint": partial(diffprior.inpaint, mask=MASK),
    "inpaint, sampled": partial(diffprior.inpaint, mask=MASK, samples=2),
    "interpolate": partial(diffprior.interpolate, to=X[0], samples=3),
    "restore": partial(diffprior.restore, scratches=MASK, blur="gaussian:1"),
    "sdedit": partial(diffprior.sdedit, strength=0.2),
    "style": partial(diffprior.style, reference=X[0], factor=8),
    "upscale": partial(diffprior.super_resolve, scale=2),
    "variations": partial(diffprior.variations, samples=2),
}


CASES = [(task, "full") for task in TASKS] + [(task, "bf16") for task in ("inpaint", "style")]


@pytest.mark.parametrize("task, precision", CASES)
def test_a_batch_is_its_images_alone(task: str, precision: str) -> None:
    run = partial(TASKS[task], steps=2, dtype=precision)
    alone = torch.cat([run(X[i : i + 1]).image for i in range(3)])
    assert torch.equal(run(X).image, alone)


@pytest.mark.parametrize("task", ["blend", "denoise", "inpaint, sampled", "sdedit", "variations"])
def test_images_with_names_keep_their_noise(task: str) -> None:
    run = partial(TASKS[task], steps=2, dtype="full")
    batch = run(X[[2, 0]], ids=["c", "a"]).image
    for got, i, name in zip(batch, (2, 0), "ca", strict=True):
        assert torch.equal(got, run(X[i : i + 1], ids=[name]).image[0])


@pytest.mark.parametrize("task", ["deblur", "denoise", "inpaint, sampled"])
def test_a_gray_image_among_others_is_as_alone(task: str) -> None:
    x = X.clone()
    x[1] = x[1].mean(0)
    run = partial(TASKS[task], steps=2, dtype="full")
    batch = run(x).samples
    for i in range(3):
        for got, alone in zip(batch, run(x[i : i + 1]).samples, strict=True):
            assert torch.equal(got[i], alone[0])


def test_gray_images_of_a_class_in_a_batch() -> None:
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    given = {"prior": "fashion", "label": 3, "guidance_scale": 2.0, "sigma": 0.2}
    run = partial(diffprior.denoise, samples=2, steps=2, **given)
    batch = run(x).samples
    for i in range(3):
        for got, alone in zip(batch, run(x[i : i + 1]).samples, strict=True):
            assert torch.equal(got[i], alone[0])


def test_images_from_nothing_do_not_depend_on_their_number() -> None:
    run = partial(diffprior.generate, width=24, height=16, steps=2, dtype="full")
    many = run(samples=3).samples
    assert [list(a.getdata()) for a in run(samples=2).samples] == [
        list(a.getdata()) for a in many[:2]
    ]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("task", ["colorize", "deblur", "inpaint", "restore"])
def test_a_batch_is_its_images_alone_at_two_threads(task: str) -> None:
    """Images of more numbers than one thread takes, whose sums two threads share."""
    images = torch.rand(2, 3, 105, 107, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 105, 107)
    mask[:, 40:60, 50:70] = 1
    given = {"inpaint": {"mask": mask}, "restore": {"scratches": mask}}.get(task, {})
    run = partial(TASKS[task], steps=1, dtype="full", **given)
    alone = torch.cat([run(images[i : i + 1]).image for i in range(2)])
    assert torch.equal(run(images).image, alone)


@pytest.mark.parametrize("shape", [(3, 24, 16), (3, 64, 64)], ids=str)
def test_a_network_is_the_same_in_any_company(shape: tuple[int, ...]) -> None:
    """There and back, in full precision; products with few positions round by the batch."""
    prior, t = load_prior().for_shape(shape), torch.tensor(0.5)
    x, v = torch.randn(2, 5, *shape, generator=torch.Generator().manual_seed(0))

    def both(x: Tensor, v: Tensor) -> Tensor:
        x_0, vjp = denoise_vjp(prior, x, t)
        return torch.stack([x_0, vjp(v)])

    assert torch.equal(
        both(x, v), torch.cat([both(x[i : i + 1], v[i : i + 1]) for i in range(5)], 1)
    )
