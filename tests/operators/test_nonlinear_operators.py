"""Non-linear operators against independent references: numpy, scipy, real files, deepinv."""

import copy
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from diffprior.catalog import build
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.base import LinearOperator
from diffprior.operators.gamma_blur import GammaBlur
from diffprior.operators.hdr import HDR
from diffprior.operators.jpeg import JPEG
from diffprior.operators.phase_retrieval import PhaseRetrieval
from diffprior.operators.physics import Physics
from diffprior.operators.quantize import Quantize
from diffprior.priors.mixture import MixturePrior

from support.exact import random

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


def image(*shape: int, seed: int = 0) -> Tensor:
    """A smooth image in [-1, 1], in 256 gray levels."""
    rough = random(*shape, seed=seed).numpy()
    smooth = ndimage.gaussian_filter(rough, (0, 0, 2, 2))
    levels = 127.5 * (1 + np.tanh(4 * smooth))
    return torch.from_numpy(levels.round() / 127.5 - 1)


def gradient(A, x: Tensor, v: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(A(leaf), leaf, v)[0]


# --- HDR


def test_hdr_clips_and_has_no_gradient_there() -> None:
    x = torch.tensor([[-0.9, -0.5, -0.1, 0.2, 0.6]], dtype=torch.float64)
    assert torch.equal(HDR()(x), torch.tensor([[-1, -1, -0.2, 0.4, 1]], dtype=torch.float64))
    inside = torch.tensor([[0, 3, 3, 3, 0]], dtype=torch.float64)
    assert torch.equal(gradient(HDR(3.0), x / 1.7, torch.ones_like(x)), inside)


# --- quantization


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_quantisation_rounds_to_even_levels_that_hold_both_ends(bits: int) -> None:
    x, top = torch.linspace(-1.2, 1.2, 4001, dtype=torch.float64)[None], 2**bits - 1
    y = Quantize(bits)(x)
    expected = np.round((x.clamp(-1, 1).numpy() + 1) / 2 * top) / top * 2 - 1
    torch.testing.assert_close(y, torch.from_numpy(expected))
    assert len(y.unique()) == 2**bits and (y.min(), y.max()) == (-1, 1)
    assert (y - x.clamp(-1, 1)).abs().max() <= 1 / top + 1e-12


def test_eight_bits_are_those_of_a_file() -> None:
    x = image(1, 3, 8, 8)
    torch.testing.assert_close(Quantize(8)(x + 0.3 / 127.5 * (x.abs() < 0.9)), x)


def test_the_gradient_passes_the_rounding_or_is_none() -> None:
    x, v = torch.tensor([[-1.5, -0.3, 0.4, 2.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert torch.equal(gradient(Quantize(2), x, v), torch.tensor([[0.0, 2.0, 3.0, 0.0]]))
    assert not gradient(Quantize(2, straight_through=False), x, v).any()


# --- phase retrieval


def test_amplitudes_are_those_of_numpy() -> None:
    x = random(2, 3, 16, 24)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (4, 4), (6, 6)))
    plane = np.fft.fft2(np.fft.ifftshift(padded, (-2, -1)), norm="ortho")
    expected = np.abs(np.fft.fftshift(plane, (-2, -1)))
    torch.testing.assert_close(PhaseRetrieval()(x), torch.from_numpy(expected))
    light = PhaseRetrieval(light=True)
    torch.testing.assert_close(light(2 * x - 1), PhaseRetrieval()(x))


def test_what_phase_retrieval_cannot_tell() -> None:
    """-x (unless the detector sees light) and a turn by 180 degrees; the norm is kept."""
    A, x = PhaseRetrieval(), random(2, 3, 16, 16)
    torch.testing.assert_close(A(x).square().sum(), x.square().sum())
    torch.testing.assert_close(A(-x), A(x))
    torch.testing.assert_close(A(x.flip(-1, -2)), A(x))
    assert (PhaseRetrieval(light=True)(-x) - PhaseRetrieval(light=True)(x)).abs().max() > 0.1


def test_the_field_pads_256_by_64() -> None:
    assert PhaseRetrieval()(torch.zeros(1, 1, 256, 256)).shape == (1, 1, 384, 384)
    assert PhaseRetrieval(oversample=0)(torch.zeros(1, 1, 9, 7)).shape == (1, 1, 9, 7)


# --- gamma blur


def test_gamma_blur_is_scipys_gaussian_in_linear_light() -> None:
    x = image(2, 3, 20, 26)
    light = np.maximum((x.numpy() + 1) / 2, 1e-3) ** 2.2
    blurred = ndimage.gaussian_filter(light, (0, 0, 1.5, 1.5), mode="mirror", truncate=4)
    expected = torch.from_numpy(2 * blurred ** (1 / 2.2) - 1)
    torch.testing.assert_close(GammaBlur(1.5)(x), expected, rtol=1e-10, atol=1e-10)


def test_bright_spots_spread_further_than_in_a_linear_blur() -> None:
    x = torch.full((1, 1, 17, 17), -1.0, dtype=torch.float64)
    x[..., 8, 8] = 1
    linear, gamma = GammaBlur(2.0, gamma=1.0)(x), GammaBlur(2.0)(x)
    assert (gamma > linear).all() and (gamma > -0.8).sum() > 1.5 * (linear > -0.8).sum()
    flat = torch.full((1, 1, 21, 21), 0.3, dtype=torch.float64)
    torch.testing.assert_close(GammaBlur(2.0)(flat), flat)


# --- JPEG


def filed(x: Tensor, quality: int) -> Tensor:
    """Return one image as a real JPEG file holds it."""
    levels = ((x + 1) * 127.5).round().to(torch.uint8).movedim(0, -1).squeeze(-1).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "jpeg", quality=quality)
    decoded = torch.from_numpy(np.array(Image.open(file))).double().reshape(*levels.shape[:2], -1)
    return decoded.movedim(-1, 0) / 127.5 - 1


@pytest.mark.parametrize("shape", [(3, 37, 50), (1, 37, 50), (3, 8, 8)])
@pytest.mark.parametrize("quality", [10, 75])
def test_exact_jpeg_is_the_file(shape: tuple[int, ...], quality: int) -> None:
    x = image(2, *shape)
    expected = torch.stack([filed(z, quality) for z in x])
    torch.testing.assert_close(JPEG(quality, exact=True)(x), expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_differentiable_jpeg_is_near_the_file(mode: str) -> None:
    """Within 4 gray levels, and far nearer to the file than the file is to the image."""
    levels = np.array(Image.open(SAMPLES / "city.png").convert(mode))[:150, :201]
    x = torch.from_numpy(levels.reshape(1, 150, 201, -1) / 127.5 - 1).movedim(-1, 1)
    for quality in (10, 30, 75):
        file = filed(x[0], quality)[None]
        ours, lost = (z.square().mean().sqrt() * 127.5 for z in (JPEG(quality)(x) - file, x - file))
        assert ours < 4 and ours < 0.5 * lost


def test_each_image_has_its_own_quality() -> None:
    x = image(3, 3, 20, 20)
    A = JPEG([5, 50, 95])
    for i, quality in enumerate((5, 50, 95)):
        torch.testing.assert_close(A(x)[i : i + 1], JPEG(quality)(x[i : i + 1]))
    assert JPEG(torch.tensor([5, 95]), exact=True)(x[:1]).shape == (2, 3, 20, 20)


def test_the_gradient_of_exact_jpeg_is_the_differentiable_ones() -> None:
    x, v = image(1, 3, 16, 16), random(1, 3, 16, 16, seed=1)
    soft = gradient(JPEG(40), x, v)
    torch.testing.assert_close(gradient(JPEG(40, exact=True), x, v), soft)
    assert soft.abs().max() > 0.01


# --- gradients of the smooth ones, and settings


@pytest.mark.parametrize(
    "A", [PhaseRetrieval(), PhaseRetrieval(light=True), GammaBlur(0.6)], ids=str
)
def test_gradients_are_those_of_differences(A) -> None:
    assert torch.autograd.gradcheck(A, image(1, 1, 6, 6).requires_grad_())


REFUSED = {
    "gain is a number above 0, got -1": lambda: HDR(-1),
    "bits is a whole number from 1 to 16, got 0": lambda: Quantize(0),
    "bits is a whole number from 1 to 16, got 2.5": lambda: Quantize(2.5),
    "oversample is a number from 0 on, got -2": lambda: PhaseRetrieval(-2),
    "sigma is a number above 0, got 0": lambda: GammaBlur(0),
    "gamma is a number above 0, got -1": lambda: GammaBlur(1, gamma=-1),
    "a blur of radius 12 needs sides above it, got (8, 8)": lambda: GammaBlur(3)(image(1, 1, 8, 8)),
    "quality is a whole number from 1 to 100, got 0": lambda: JPEG(0),
    "quality is a whole number from 1 to 100, got [5, 101]": lambda: JPEG([5, 101]),
    "JPEG takes images of 1 or 3 channels, got 2": lambda: JPEG(50)(image(1, 2, 8, 8)),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        REFUSED[sentence]()
    assert str(error.value) == sentence


# --- deepinv


def test_a_linear_physics_is_a_linear_operator() -> None:
    physics = pytest.importorskip("deepinv.physics")
    x, keep = random(2, 1, 6, 6), (random(1, 6, 6, seed=1) > 0).double()
    A = Physics(physics.Inpainting((1, 6, 6), mask=keep))
    assert isinstance(A, LinearOperator) and isinstance(A, Physics)
    assert torch.equal(A(x), keep * x)
    torch.testing.assert_close(A.pinv(x), keep * x)
    square = Physics(physics.Physics(A=torch.square, noise_model=physics.GaussianNoise(0.1)))
    assert type(square) is Physics and torch.equal(square(x), x**2)  # without its noise
    with pytest.raises(TypeError, match=r"^physics is one of deepinv\.physics, got Tanh$"):
        Physics(torch.nn.Tanh())


def test_complex_coils_stay_complex() -> None:
    """torch casts complex buffers to real when a module is moved to float64."""
    physics = pytest.importorskip("deepinv.physics")
    coils = torch.complex(random(1, 3, 8, 8), random(1, 3, 8, 8, seed=1)).to(torch.complex64)
    A = Physics(physics.MultiCoilMRI(coil_maps=coils, img_size=(2, 8, 8)))
    x = random(2, 2, 8, 8, seed=2)
    moved = copy.deepcopy(A).double()
    assert moved.physics.coil_maps.dtype == torch.complex128
    torch.testing.assert_close(moved(x), A(x.float()).double(), rtol=1e-5, atol=1e-5)
    y = random(*moved(x).shape, seed=3)
    left, right = (moved(x) * y).sum(), (x * moved.adjoint(y)).sum()
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def test_a_method_conditions_on_a_physics(gaussian: MixturePrior) -> None:
    """The same draws as with our own operator of the same matrix."""
    physics = pytest.importorskip("deepinv.physics")
    from diffprior.operators.matrix import Matrix

    M, y = random(2, 4, seed=4), random(1, 2, seed=5)
    camera = physics.LinearPhysics(A=lambda x: x @ M.T, A_adjoint=lambda y: y @ M)
    draws = [
        build("mmps(sampler=ddim(steps=20))")(
            gaussian, GaussianLikelihood(operator=A, y=y, sigma=0.3), n=3
        )
        for A in (Physics(camera), Matrix(M))
    ]
    torch.testing.assert_close(*draws, rtol=1e-3, atol=1e-3)


def exact(x: Tensor, prior: MixturePrior, sigma: float) -> Tensor:
    """Return E[clean | x] in [0, 1], for one Gaussian in [-1, 1], by dense algebra."""
    mean, cov = (prior.means[0] + 1) / 2, prior.covs()[0] / 4
    gain = cov @ torch.linalg.inv(cov + sigma**2 * torch.eye(4, dtype=torch.float64))
    return mean + (x - mean) @ gain.T


def test_our_prior_is_a_denoiser_of_deepinv(gaussian: MixturePrior) -> None:
    models = pytest.importorskip("deepinv.models")
    from diffprior.interop.deepinv import DeepinvDenoiser

    denoiser, x = DeepinvDenoiser(gaussian), random(3, 4)
    assert isinstance(denoiser, models.Denoiser)
    for sigma in (0.05, 0.5):
        torch.testing.assert_close(
            denoiser(x, sigma), exact(x, gaussian, sigma), rtol=1e-4, atol=1e-4
        )
    levels = torch.tensor([0.05, 0.2, 1.0])
    each = torch.cat([exact(x[i : i + 1], gaussian, levels[i].item()) for i in range(3)])
    torch.testing.assert_close(denoiser(x, levels), each, rtol=1e-4, atol=1e-4)
    leaf, one = x.clone().requires_grad_(), torch.ones_like(x)
    slope = [
        torch.autograd.grad(f(leaf), leaf, one)[0]
        for f in (lambda x: denoiser(x, 0.3), lambda x: exact(x, gaussian, 0.3))
    ]
    torch.testing.assert_close(*slope, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="^there are 2 noise levels for 3 images$"):
        denoiser(x, levels[:2])


def test_deepinv_finds_the_score_of_our_prior(gaussian: MixturePrior) -> None:
    """Its ScorePrior calls the denoiser and must meet the gradient of the exact density."""
    optim = pytest.importorskip("deepinv.optim")
    from diffprior.interop.deepinv import DeepinvDenoiser

    x, sigma = random(3, 4), 0.3
    ours = optim.ScorePrior(DeepinvDenoiser(gaussian)).grad(x, sigma)
    mean, cov = (gaussian.means[0] + 1) / 2, gaussian.covs()[0] / 4
    precision = torch.linalg.inv(cov + sigma**2 * torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(ours, (x - mean) @ precision, rtol=1e-3, atol=1e-3)
