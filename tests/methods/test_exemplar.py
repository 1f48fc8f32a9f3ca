"""Copies for wide holes, and a method for each width, on photographs."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from diffprior import load_prior
from diffprior.classical.islands import wide_part
from diffprior.exemplar.completion import complete
from diffprior.likelihoods import GaussianLikelihood
from diffprior.methods.by_depth import ByDepth
from diffprior.methods.dpir import DPIR
from diffprior.methods.exemplar import Exemplar
from diffprior.methods.textured import Textured
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior

SIDE = 96
NARROW = DPIR(start=0.15, steps=2)


@pytest.fixture(scope="module")
def prior() -> Prior:
    return load_prior().for_shape((3, SIDE, SIDE))


def photos(*names: str) -> Tensor:
    """Parts of the sample photographs, ``(B, 3, 96, 96)`` in [-1, 1]."""
    images = []
    for name in names:
        with Image.open(f"data/samples/{name}.png") as image:
            images.append(np.asarray(image.convert("RGB").crop((0, 0, SIDE, SIDE))))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1


def disc(radius: float, at: tuple[int, int] = (48, 48)) -> Tensor:
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2


def scratch() -> Tensor:
    hole = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    hole[8:11] = True
    return hole


def seen(images: Tensor, holes: Tensor) -> GaussianLikelihood[Mask]:
    keep = ~holes[:, None]
    return GaussianLikelihood(operator=Mask(keep, batched=True), y=images * keep)


def test_the_method_is_the_completion_of_each_image(prior: Prior) -> None:
    x, holes = photos("grass", "city"), torch.stack([disc(20), disc(16, (30, 60))])
    out = Exemplar(tries=2)(prior, seen(x, holes))
    for i in range(2):
        alone = Exemplar(tries=2)(prior, seen(x[i : i + 1], holes[i : i + 1]))
        assert torch.equal(out[i], alone)
        assert torch.equal(alone[0][:, ~holes[i]], x[i][:, ~holes[i]])
        inside = alone[0][:, holes[i]]
        assert inside.std() > 0.5 * x[i][:, holes[i]].std()


def test_seeds_and_samples_are_layouts(prior: Prior) -> None:
    likelihood = seen(photos("flowers"), disc(22)[None])
    a, b, c = (Exemplar(tries=1)(prior, likelihood, n=2, seed=s) for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert not torch.equal(a[0], a[1])
    first = Exemplar(tries=1)(prior, likelihood, n=1, seed=0)
    assert torch.equal(first[0], a[0])


def test_each_width_has_its_method(prior: Prior) -> None:
    """The scratch is that of the narrow method; the disc copies from a whole image."""
    x, wide = photos("grass"), disc(20, (60, 48))
    holes = (scratch() | wide)[None]
    method = ByDepth(narrow=NARROW, wide=Exemplar(tries=2), depth=10.0)
    out = method(prior, seen(x, holes), seed=3)[0]
    narrow = NARROW(prior, seen(x, holes))[0]
    assert torch.equal(out[:, scratch()], narrow[:, scratch()])
    known = torch.where(scratch(), narrow, x[0])
    filled = Exemplar(tries=2)(prior, seen(known[None], wide[None]), seed=3)[0]
    assert torch.equal(out[:, wide], filled[:, wide])
    assert torch.equal(out[:, ~holes[0]], x[0][:, ~holes[0]])


def test_methods_made_of_methods_are_parts_of_others(prior: Prior) -> None:
    """Each one gets the starts that it gets alone, in a batch of two as well."""
    noisy = DPIR(start=0.3, steps=2)
    textured = Textured(mean=NARROW, sample=DPIR(start=0.5, steps=2))
    inner = ByDepth(narrow=textured, wide=Exemplar(tries=1), depth=10.0)
    outer = ByDepth(narrow=inner, wide=noisy, depth=10.0)
    assert (noisy.starts, textured.starts, inner.starts, outer.starts) == (1, 2, 3, 4)
    likelihood = seen(photos("grass", "city"), torch.stack([scratch(), scratch()]))
    assert torch.equal(outer(prior, likelihood, seed=1), textured(prior, likelihood, seed=1))
    deep = seen(photos("grass"), disc(20)[None])
    assert torch.equal(outer(prior, deep, seed=1), noisy(prior, deep, seed=1))


@pytest.mark.parametrize("hole, part", [(scratch(), "narrow"), (disc(20), "wide")])
def test_holes_of_one_width_have_one_method(prior: Prior, hole: Tensor, part: str) -> None:
    likelihood = seen(photos("grass"), hole[None])
    method = ByDepth(narrow=NARROW, wide=Exemplar(tries=1), depth=10.0)
    shares: list[float] = []
    out = method(prior, likelihood, seed=1, callback=lambda x, share: shares.append(share))
    assert torch.equal(out, getattr(method, part)(prior, likelihood, seed=1))
    assert shares[-1] == 1.0


def test_references_reach_the_method(prior: Prior) -> None:
    x, hole = photos("city"), disc(20)
    out = Exemplar(tries=2, references=(x[0],))(prior, seen(x, hole[None]))
    assert (out[0] - x[0]).abs().max() < 1e-5


def test_the_completion_is_in_units_of_the_image(prior: Prior) -> None:
    x, hole = photos("grass"), disc(18)
    out = Exemplar(tries=2)(prior, seen(x, hole[None]), seed=5)
    noise = 0  # the seed of the completion is drawn from that of the call
    fills = [complete((x[0] + 1) / 2, hole, tries=2, seed=noise)]
    assert out.min() >= x.min() - 0.2 and out.max() <= x.max() + 0.2
    assert abs(float(out[0][:, hole].mean() - (2 * fills[0] - 1)[:, hole].mean())) < 0.1


@pytest.mark.parametrize(
    "shape, wide", [((9, 9), True), ((50, 7), False), ((50, 25), True), ((100, 25), False)]
)
def test_compact_holes_are_wide_and_strokes_are_not(shape: tuple[int, int], wide: bool) -> None:
    hole = torch.zeros(400, 400, dtype=torch.bool)
    hole[20 : 20 + shape[0], 20 : 20 + shape[1]] = True
    assert bool(wide_part(hole, 20.0, 4.0).any()) == wide
    assert not wide_part(hole, 20.0).any()


def test_only_the_wide_hole_of_two_is_found() -> None:
    hole = torch.zeros(200, 200, dtype=torch.bool)
    hole[10:12, 10:190] = True
    hole[80:140, 80:140] = True
    part = wide_part(hole, 20.0)
    assert part[80:140, 80:140].all()
    assert part.sum() == 60 * 60
