"""A blur from beyond the border: scipy's valid convolution, and exact posteriors."""

import math

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import scipy.signal
import torch
from torch import Tensor

from diffprior.catalog import build
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.dpir import DPIR
from diffprior.methods.mmps import MMPS
from diffprior.methods.pigdm import PiGDM
from diffprior.operators import blur
from diffprior.operators.base import LinearOperator
from diffprior.operators.blur import Blur
from diffprior.operators.decimate import Decimate
from diffprior.operators.gray import Gray
from diffprior.operators.mask import Mask
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.runtime.surroundings import Surroundings
from diffprior.samplers.ancestral import Ancestral

from support.exact import deviations, moments, random

SIZES = [(5, 5), (4, 3), (2, 6), (1, 1), (1, 7)]
near = torch.testing.assert_close


def corner(h: int, w: int, i: int, j: int) -> Tensor:
    """A kernel with all of its mass in one tap."""
    k = torch.zeros(h, w, dtype=torch.float64)
    k[i, j] = 1
    return k


def dense(A: LinearOperator, *shape: int) -> Tensor:
    n = math.prod(shape)
    return A(torch.eye(n, dtype=torch.float64).reshape(n, *shape)).flatten(1).T


def convolution(k: Tensor, *shape: int) -> Tensor:
    """Return the matrix of a valid convolution of one channel, entry by entry."""
    h, w = k.shape
    height, width = shape
    rows = []
    for i in range(height - h + 1):
        for j in range(width - w + 1):
            row = torch.zeros(height, width, dtype=torch.float64)
            row[i : i + h, j : j + w] = k.flip(0, 1)
            rows.append(row.flatten())
    return torch.stack(rows)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_free_blur_is_scipys_valid_convolution(size: tuple[int, int]) -> None:
    k, x = random(*size, seed=1), random(2, 3, 12, 9)
    y = Blur(k, "free")(x)
    for row in range(2):
        for channel in range(3):
            expected = scipy.signal.convolve2d(x[row, channel], k, mode="valid")
            near(y[row, channel], torch.from_numpy(expected))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_it_measures_is_the_middle_of_the_blurred_scene(size: tuple[int, int]) -> None:
    """The scene is blurred whole, whatever lies beyond it; the image is cut from it."""
    k, scene = random(*size, seed=1), random(1, 1, 20, 17)
    around = Surroundings.of(Blur(k, "free"))
    for mode in ("mirror", "constant", "wrap"):
        blurred = scipy.ndimage.convolve(scene[0, 0].numpy(), k.numpy(), mode=mode)
        near(Blur(k, "free")(scene)[0, 0], around.cut(torch.from_numpy(blurred)))
    assert around.size(20 - size[0] + 1, 17 - size[1] + 1) == (20, 17)


@pytest.mark.parametrize("at", [(0, 0), (0, 4), (3, 0), (3, 4), (2, 2)], ids=str)
def test_a_kernel_with_its_mass_in_a_corner_moves_the_image(at: tuple[int, int]) -> None:
    """It reaches to one side only; what it moved out of the image is beyond its other side."""
    A, x = Blur(corner(4, 5, *at), "free"), random(1, 1, 11, 12)
    down, right = at[0] - 2, at[1] - 2
    moved = x.roll((down, right), (-2, -1))
    near(A(x), Surroundings.of(A).cut(moved))


@pytest.mark.parametrize("size", [*SIZES, (9, 8)], ids=str)
@pytest.mark.parametrize("dtype, limit", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_the_adjoint_is_the_full_correlation(size, dtype, limit) -> None:
    k, x = random(*size, seed=1), random(2, 3, 12, 9)
    A = Blur(k, "free").to(dtype)
    y = random(*A(x.to(dtype)).shape, seed=2)
    back = A.adjoint(y.to(dtype)).double()
    for channel in range(3):
        expected = scipy.signal.correlate2d(y[0, channel], k, mode="full")
        near(back[0, channel], torch.from_numpy(expected), rtol=0, atol=limit * 30)
    left, right = (A(x.to(dtype)).double() * y).sum(), (x * back).sum()
    assert abs(left - right) < limit * x.norm() * back.norm()


def test_each_image_can_have_its_kernel() -> None:
    k, x = random(2, 3, 4, seed=1), random(2, 3, 8, 8)
    A = Blur(k, "free")
    for i in range(2):
        near(A(x)[i : i + 1], Blur(k[i], "free")(x[i : i + 1]))


def test_it_composes_and_is_written_as_a_text() -> None:
    x = random(1, 3, 14, 14)
    A = build("decimate(factor=4) @ blur(kernel='uniform:3', boundary='free')", ("operators",))
    assert isinstance(A, LinearOperator)
    expected = Decimate(4)(Blur("uniform:3", "free")(x))
    near(A.for_shape((3, 14, 14))(x), expected)
    assert expected.shape == (1, 3, 3, 3)
    keep = (random(12, 12, seed=3) > 0).double()
    B = Mask(keep) @ Gray("luminance").double() @ Blur("uniform:3", "free")
    y = random(1, 1, 12, 12, seed=4)
    near((B(x) * y).sum(), (x * B.adjoint(y)).sum())


def test_a_state_that_leaves_nothing_to_measure_is_refused() -> None:
    said = "^a kernel of 9x9 leaves nothing to measure of an image of 8x20$"
    with pytest.raises(ValueError, match=said):
        Blur("uniform:9", "free")(random(1, 1, 20, 8))


K = random(3, 2, seed=5).exp() / 10  # skewed, of an even side
SHAPE = (1, 4, 4)


def problem() -> tuple[MixturePrior, GaussianLikelihood[Blur]]:
    """A correlated Gaussian of 16 pixels, of which the blur measures 2 x 3."""
    L = random(16, 16) / 4
    cov = L @ L.T + 0.1 * torch.eye(16, dtype=torch.float64)
    ones = torch.ones(1, dtype=torch.float64)
    prior = MixturePrior(ones, random(1, *SHAPE, seed=1), cov[None])
    likelihood = GaussianLikelihood(operator=Blur(K, "free"), sigma=0.2)
    return prior, likelihood.measure(prior.sample(Noise(3)), Noise(4))


def by_hand(prior: MixturePrior, y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Return the mean and the covariance of the posterior, from the matrix of the convolution."""
    M = convolution(K, *SHAPE[1:])
    m, C = prior.means[0], prior.covs()[0]
    gain = torch.linalg.solve(M @ C @ M.T + sigma**2 * torch.eye(len(M)).double(), M @ C).T
    return m + gain @ (y.flatten() - M @ m), C - gain @ M @ C


def test_its_matrix_is_that_of_the_convolution() -> None:
    near(dense(Blur(K, "free"), *SHAPE), convolution(K, *SHAPE[1:]))


def test_mmps_draws_from_the_exact_posterior() -> None:
    """Unmeasured pixels beyond the border, too: mean and covariance within 4 standard errors."""
    prior, likelihood = problem()
    method = MMPS(iterations=8, sampler=Ancestral(steps=200))
    x = method(prior, likelihood, n=2000, seed=0)
    mean, cov = by_hand(prior, likelihood.y, likelihood.sigma)
    near(moments(prior.posterior(likelihood))[0], mean)
    assert deviations(x, mean, cov) < 4


def test_a_data_step_is_the_dense_solve() -> None:
    """That of dpir, daps and pigdm: E[x | y] under N(x_0, v I), where y is smaller than x."""
    _, likelihood = problem()
    x_0, v = random(1, *SHAPE, seed=8), 0.7
    M = convolution(K, *SHAPE[1:])
    S = v * M @ M.T + likelihood.sigma**2 * torch.eye(len(M)).double()
    r = likelihood.y.flatten() - M @ x_0.flatten()
    near(likelihood.condition(x_0, v).flatten(), x_0.flatten() + v * M.T @ torch.linalg.solve(S, r))


@pytest.mark.parametrize(
    "method", [DPIR(steps=40), PiGDM(sampler=Ancestral(steps=100, temperature=0.0))], ids=repr
)
def test_methods_explain_what_was_measured(method) -> None:
    prior, likelihood = problem()
    x = method(prior, likelihood, seed=0)
    assert x.shape == (1, *SHAPE)
    assert likelihood.chi2(x).item() < 3 < likelihood.chi2(prior.means.reshape(1, *SHAPE)).item()


def test_the_surroundings_of_a_small_image_are_its_border_pixels() -> None:
    around = Surroundings(2, 3, 4, 5)
    x = random(1, 2, 7, 6)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (4, 5), (2, 3)), mode="reflect")
    near(around.add(x), torch.from_numpy(expected))
    near(around.cut(around.add(x)), x)
    tiny = x[..., :2, :2]
    expected = np.pad(tiny.numpy(), ((0, 0), (0, 0), (4, 5), (2, 3)), mode="edge")
    near(around.add(tiny), torch.from_numpy(expected))
    assert Surroundings.of(Blur("uniform:5")) == Surroundings() == Surroundings.of(None)


@pytest.mark.parametrize("n", range(1, 140))
def test_transforms_have_a_fast_length(n: int) -> None:
    """That of scipy, where it uses no prime above 5."""
    assert blur._smooth(n) == scipy.fft.next_fast_len(n, real=True)
