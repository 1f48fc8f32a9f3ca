"""A mean with texture: how much of it, where it comes from, and what it leaves alone."""

import pytest
import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

import diffprior
from diffprior.catalog import build
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.textured import Textured
from diffprior.metrics import gradient_inner_product
from diffprior.operators.mask import Mask
from diffprior.priors.mixture import MixturePrior

from support.exact import random

SHAPE = (1, 24, 24)


@pytest.fixture(scope="module")
def field() -> MixturePrior:
    """Gaussian images with a correlation of 0.8 between neighbors."""
    i, j = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    at = torch.stack([i.flatten(), j.flatten()], 1).double()
    cov = 0.25 * 0.8 ** torch.cdist(at, at, p=1)
    return MixturePrior(torch.ones(1), torch.zeros(1, *SHAPE).double(), cov[None])


def problem(field: MixturePrior) -> tuple[Tensor, GaussianLikelihood[Mask]]:
    root = torch.linalg.cholesky(field.covs()[0])
    x = (random(1, 576, seed=3) @ root.mT).reshape(1, *SHAPE)
    hole = torch.zeros(1, 24, 24, dtype=torch.bool)
    hole[:, 8:16, 6:18] = True
    likelihood = GaussianLikelihood(operator=Mask(~hole).double(), y=x * ~hole, sigma=0.0)
    return hole, likelihood


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_the_hole_has_the_energy_that_was_asked_for(field: MixturePrior, share: float) -> None:
    """Over what is seen round it, to rounding; a mean alone has less than half."""
    hole, likelihood = problem(field)
    x = Textured(share=share, most=50.0)(field, likelihood)
    mean = Textured(share=0.0)(field, likelihood)
    inside = hole[None].double()
    round_it = gradient_inner_product(x, x, 1 - inside)  # reach: the whole image
    found = [gradient_inner_product(z, z, inside, torch.maximum) / round_it for z in (x, mean)]
    assert abs(found[0] - share) < 1e-6 and found[1] < 0.5


def test_low_frequencies_are_the_mean(field: MixturePrior) -> None:
    """What is added is small after a wide blur, beside what a sample has there."""
    _, likelihood = problem(field)
    method = Textured(most=50.0)
    x, mean = method(field, likelihood), Textured(share=0.0)(field, likelihood)
    sample = method.sample(field, likelihood)
    low = [gaussian_blur2d(z - mean, (13, 13), (2.0, 2.0)).norm() for z in (x, sample)]
    high = (x - mean).norm()
    assert high > 0 and low[0] < 0.3 * high and low[0] < low[1]


def test_all_that_was_seen_stays(field: MixturePrior) -> None:
    hole, likelihood = problem(field)
    x = Textured()(field, likelihood, n=2)
    mean = Textured(share=0.0)(field, likelihood)
    assert (x - mean)[..., ~hole[0]].abs().max() < 1e-12
    assert not torch.equal(x[0], x[1])


def test_the_task_takes_the_hole_into_account() -> None:
    """A thick hole starts noisier, with texture as without; the report says what was done."""
    x = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    thin, thick, deep = torch.zeros(3, 1, 64, 64, dtype=torch.bool)
    thin[:, ::4], thick[:, 20:26], deep[:, 20:44, 20:44] = True, True, True
    for hole, start in ((thin, "DPIR(start=0.13"), (thick, "DPIR(start=0.4"), (deep, "Exemplar")):
        out = diffprior.inpaint(x, hole, fill="texture", steps=2)
        assert start in out.report["method"]
        assert torch.equal(out.image[:, ~hole[0]], x[:, ~hole[0]])


def test_settings_by_name() -> None:
    assert build("textured(share=0.5)") == Textured(share=0.5)
