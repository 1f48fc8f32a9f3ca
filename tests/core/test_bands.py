"""Large images band by band: the same bits, and one copy in place of several."""

import pytest
import torch
from torch import Tensor

from diffprior import bands
from diffprior.diffusions import GaussianDiffusion
from diffprior.io.jpeg import standard
from diffprior.likelihoods import GaussianLikelihood
from diffprior.likelihoods.jpeg import CellLikelihood, Coefficients
from diffprior.operators.average import Average
from diffprior.operators.blur import Blur
from diffprior.operators.gray import Gray
from diffprior.operators.identity import Identity
from diffprior.operators.mask import Mask
from diffprior.random import Noise

SHAPE = (1, 3, 72, 60)


def images(seed: int = 0) -> Tensor:
    return Noise(seed).uniform(torch.empty(SHAPE)) * 2 - 1


@pytest.fixture
def small_bands(monkeypatch):
    """Return a function that takes images for large ones, from then on."""

    def take(large: int = 4000, rows: int = 16) -> None:
        monkeypatch.setattr(bands, "LARGE", large)
        monkeypatch.setattr(bands, "BAND", rows * SHAPE[1] * SHAPE[3])
        monkeypatch.setattr("diffprior.operators.blur.ROWS", 16)

    return take


def test_rows_of_pixels_give_the_bits_of_the_whole(small_bands):
    x, y = images(), images(1)
    mask = images(2)[:, :1]

    def mixed(x: Tensor, y: Tensor, mask: Tensor, scale: Tensor) -> Tensor:
        return (mask * x + (1 - mask) * y) / scale

    tensors = (x, y, mask, torch.tensor(0.7, dtype=torch.float64))
    whole = bands.in_bands(mixed, *tensors)
    small_bands()
    assert len(list(bands.bands(x))) == 5
    assert bands.in_bands(mixed, *tensors).equal(whole)
    into = y.clone()
    assert bands.in_bands(mixed, x, into, *tensors[2:], into=into) is into
    assert into.equal(whole)


def test_a_graph_is_kept_whole(small_bands):
    small_bands()
    x = images().requires_grad_()
    bands.in_bands(lambda x, y: (x * y).square(), x, images(1)).sum().backward()
    assert x.grad is not None and torch.allclose(x.grad, 2 * x.detach() * images(1) ** 2)


def test_all_rows_of_a_batch_are_not_copied():
    x = torch.arange(6.0).reshape(3, 2)
    assert bands.rows_of(x, torch.arange(3)) is x
    assert bands.rows_of(x, torch.tensor([2, 0])).equal(x[[2, 0]])
    assert bands.rows_of(x, torch.tensor([0, 2, 1])).equal(x[[0, 2, 1]])


OPERATORS = {
    "identity": Identity(),
    "mask": Mask((images(3)[:, :1] > 0).float(), batched=True),
    "gray": Gray("luminance"),
    "average": Average(4),
}


@pytest.mark.parametrize("sigma", [0.0, 0.1])
@pytest.mark.parametrize("name", OPERATORS)
def test_a_mean_given_data_has_the_bits_of_the_whole(small_bands, name, sigma):
    A = OPERATORS[name]
    known = GaussianLikelihood(operator=A, y=A(images()), sigma=sigma)
    whole, fit = known.condition(images(1), 0.05), known.chi2(images(1))
    small_bands()
    assert known.condition(images(1), 0.05).equal(whole)
    assert torch.allclose(known.chi2(images(1)), fit, rtol=1e-5)


@pytest.mark.parametrize("boundary", ["free", "reflect", "circular", "zero"])
def test_a_blur_in_bands_is_that_of_the_whole(small_bands, boundary):
    A = Blur(torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) / 18, boundary)
    y, back = A(images()), A.adjoint(images(1))
    small_bands()
    assert torch.allclose(A(images()), y, atol=1e-6)
    assert torch.allclose(A.adjoint(images(1)), back, atol=1e-6)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0", "4:4:0"])
def test_jpeg_cells_in_bands_are_those_of_the_whole(small_bands, subsampling):
    A = Coefficients(SHAPE[1:], standard(30, subsampling))
    known = CellLikelihood(operator=A, y=A(images()))
    whole = (A(images(1)), A.coded(images(1)), known.condition(images(1), 0.05))
    small_bands()
    parts = (A(images(1)), A.coded(images(1)), known.condition(images(1), 0.05))
    for part, all_of_it in zip(parts, whole, strict=True):
        assert torch.allclose(part, all_of_it, rtol=1e-5, atol=1e-5)


def test_a_step_of_a_chain_has_the_bits_of_the_whole(small_bands):
    diffusion = GaussianDiffusion()
    t, s = torch.tensor(0.6), torch.tensor(0.5)

    def step() -> Tensor:
        return diffusion.bridge(images(), images(1), t, s).sample(Noise(4))

    whole = step()
    small_bands()
    assert step().equal(whole)


def test_noise_is_the_same_however_it_is_drawn():
    noise, same = Noise(0), Noise(0)
    parts = [noise.normal(torch.empty(1, n)) for n in (5, 3000, 2, 1500)]
    assert torch.cat(parts, 1).equal(same.normal(torch.empty(1, 4507)))
