"""Linear operators against references written in other words: numpy, scipy, Pillow, plain loops."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from diffprior.catalog import build
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators import compressed
from diffprior.operators.average import Average
from diffprior.operators.base import LinearOperator, Operator, SVDOperator
from diffprior.operators.bicubic import Bicubic, weights
from diffprior.operators.blur import Blur
from diffprior.operators.circular_blur import CircularBlur
from diffprior.operators.compressed import Compressed
from diffprior.operators.decimate import Decimate
from diffprior.operators.fourier import Fourier
from diffprior.operators.generators import frequencies, kernels
from diffprior.operators.gray import Gray
from diffprior.operators.hadamard import Hadamard

from support.exact import random

SHAPE = (3, 16, 32)
WORDS = [
    "average(factor=4)",
    "bicubic(factor=3)",
    "blur(kernel='shake:7,0.5,1')",
    "blur(kernel='gaussian:1', boundary='zero')",
    "blur(kernel='motion:5,20', boundary='free')",
    "circular_blur(kernel='motion:7,30')",
    "compressed(ratio=0.1, seed=2)",
    "decimate(factor=4, phase=2)",
    "fourier(keep='random:3,0.1,0')",
    "gray(weights='luminance')",
    "hadamard(ratio=0.5, seed=1)",
]
words = pytest.mark.parametrize("text", WORDS)
near = torch.testing.assert_close


def made(text: str, shape: tuple[int, ...] = SHAPE) -> LinearOperator:
    return build(text, ("operators",)).for_shape(shape)


def matrix(A: Operator, *shape: int) -> Tensor:
    """Return A written down, column by column."""
    n = math.prod(shape)
    return A(torch.eye(n, dtype=torch.float64).reshape(n, *shape)).flatten(1).T


@words
def test_the_dtype_of_the_data_is_kept_and_rows_do_not_meet_to_the_bit(text: str) -> None:
    A, x = made(text), random(3, *SHAPE).float()
    y = A(x)
    assert y.dtype == A.adjoint(y).dtype == A.pinv(y).dtype == torch.float32
    assert torch.equal(A(x[1:2]), y[1:2]) and torch.equal(A.adjoint(y[1:2]), A.adjoint(y)[1:2])
    near(A.double()(x.double()), y.double(), rtol=1e-4, atol=1e-4)


@words
def test_a_shape_can_come_later_and_change(text: str) -> None:
    late, other, x = made(text), made(text, (3, 32, 16)), random(1, *SHAPE).float()
    assert torch.equal(late.for_shape((3, 32, 16)).for_shape(SHAPE)(x), late(x))
    assert late.for_shape(SHAPE) is late and other(x.mT.contiguous()).isfinite().all()


@words
def test_the_variance_of_the_data_is_weighed_as_a_matrix_would(text: str) -> None:
    """A^T (v A A^T + sigma^2)^-1 r, beside a dense solve: guards an s that is not of A."""
    A, shape = made(text, (3, 8, 8)).double(), (3, 8, 8)
    r = random(*A(random(1, *shape)).shape)
    M = matrix(A, *shape)
    K = 0.5 * M @ M.T + 0.3**2 * torch.eye(len(M), dtype=torch.float64)
    likelihood = GaussianLikelihood(operator=A, y=r, sigma=0.3)
    expected = M.T @ torch.linalg.solve(K, r.flatten())
    near(likelihood.apply_gain(r, 0.5).flatten(), expected, rtol=1e-5, atol=1e-5)


@words
def test_singular_values_are_those_of_the_matrix(text: str) -> None:
    A, shape = made(text, (3, 8, 8)).double(), (3, 8, 8)
    if isinstance(A, SVDOperator):
        s = A.s.expand_as(A.to_spectrum(random(1, *shape))).flatten()
        found = torch.linalg.svdvals(matrix(A, *shape))
        s = s.sort(descending=True).values
        near(s[: len(found)], found, rtol=1e-6, atol=1e-7)
        assert (s[len(found) :] == 0).all()


def test_an_average_is_the_mean_of_each_block() -> None:
    x = random(2, 3, 12, 6)
    near(Average(3)(x), F.avg_pool2d(x, 3))
    near(Average(3).pinv(F.avg_pool2d(x, 3)), F.interpolate(F.avg_pool2d(x, 3), scale_factor=3))
    with pytest.raises(ValueError, match="sides that are multiples of 4, got 6x12"):
        Average(4)(x)
    with pytest.raises(ValueError, match="from 2 on, got 1"):
        Average(1)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_bicubic_is_pillows_away_from_the_border(factor: int) -> None:
    """Pillow widens the kernel of a = -1/2 by the factor as well, but cuts it at the border."""
    x = random(1, 1, 16 * factor, 12 * factor).float()
    size = (12, 16)
    expected = Image.fromarray(x[0, 0].numpy()).resize(size, Image.Resampling.BICUBIC)
    y = Bicubic(factor, x.shape[1:])(x)
    inner = (0, 0, slice(2, -2), slice(2, -2))
    near(y[inner], torch.from_numpy(np.array(expected))[2:-2, 2:-2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n, factor", [(24, 4), (13, 3), (17, 2), (5, 8), (3, 2)])
def test_bicubic_weights_are_a_plain_loop_over_a_mirrored_image(n: int, factor: int) -> None:
    x = random(n).numpy()
    far = 4 * factor
    long = np.pad(x, far, mode="symmetric")
    expected = []
    for i in range(math.ceil(n / factor)):
        c, total, norm = factor * (i + 0.5) - 0.5, 0.0, 0.0
        for j in range(-far, n + far):
            d = abs(j - c) / factor
            if d < 1:
                k = 1.5 * d**3 - 2.5 * d**2 + 1
            elif d < 2:
                k = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
            else:
                continue
            total, norm = total + k * long[j + far], norm + k
        expected.append(total / norm)
    near(weights(n, factor) @ torch.from_numpy(x), torch.tensor(expected, dtype=torch.float64))


def test_bicubic_takes_any_sides_and_keeps_what_is_flat() -> None:
    A = Bicubic(3, (1, 13, 20)).double()
    y = A(torch.full((1, 1, 13, 20), 0.7).double())
    near(y, torch.full((1, 1, 5, 7), 0.7).double(), rtol=1e-6, atol=1e-6)
    near(A(random(1, 1, 13, 20)), weights(13, 3) @ random(1, 1, 13, 20) @ weights(20, 3).T)


@pytest.mark.parametrize("size", [(5, 5), (4, 3), (2, 6), (1, 1)], ids=str)
@pytest.mark.parametrize(
    "boundary, mode", [("reflect", "mirror"), ("circular", "wrap"), ("zero", "constant")]
)
def test_a_blur_is_scipys_convolution(boundary: str, mode: str, size: tuple[int, int]) -> None:
    k, x = random(*size, seed=1), random(1, 2, 12, 9)
    y = Blur(k, boundary)(x)
    for channel in range(2):
        expected = scipy.ndimage.convolve(x[0, channel].numpy(), k.numpy(), mode=mode)
        near(y[0, channel], torch.from_numpy(expected))


@pytest.mark.parametrize("size", [(5, 5), (4, 3), (12, 9)], ids=str)
def test_a_circular_blur_is_the_blur_on_a_torus(size: tuple[int, int]) -> None:
    k, x = random(*size, seed=1), random(2, 3, 12, 9)
    A = CircularBlur(k, x.shape[1:])
    near(A(x), Blur(k, "circular")(x))
    near(A.s, torch.fft.fft2(F.pad(k, (0, 9 - size[1], 0, 12 - size[0]))).abs())


@pytest.mark.parametrize("make", [Blur, CircularBlur])
def test_each_image_can_have_its_kernel(make) -> None:
    k, x = random(2, 3, 3, seed=1), random(2, 3, 8, 8)
    A = make(k).for_shape(SHAPE[:1] + (8, 8))
    for i in range(2):
        near(A(x)[i : i + 1], make(k[i]).for_shape((3, 8, 8))(x[i : i + 1]))


def test_kernels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="reaches beyond the mirror image of an image of 8x8"):
        Blur("uniform:17")(random(1, 1, 8, 8))
    with pytest.raises(ValueError, match="17x17 does not fit an image of 8x8"):
        CircularBlur("uniform:17", (1, 8, 8))
    with pytest.raises(
        ValueError, match="boundary of a blur is free, reflect, circular, zero, got 'x'"
    ):
        Blur("uniform:3", boundary="x")
    with pytest.raises(ValueError, match=r"shape \(h, w\) or \(B, h, w\), got \(3,\)"):
        Blur(torch.ones(3))
    Blur("uniform:17", boundary="zero")(random(1, 1, 8, 8))


def test_gray_is_the_weighted_sum() -> None:
    x = random(2, 3, 4, 5)
    r, g, b = x.split(1, 1)
    near(Gray().double()(x), (r + g + b) / 3)
    near(Gray("luminance").double()(x), 0.299 * r + 0.587 * g + 0.114 * b)
    near(Gray("orthonormal").double()(x), (r + g + b) / 3**0.5)
    near(Gray().double().pinv(r), r.expand_as(x))
    with pytest.raises(ValueError, match="mean, luminance, orthonormal, got 'red'"):
        Gray("red")
    with pytest.raises(ValueError, match="of 3 channels, got 1"):
        Gray()(r)


def test_decimation_keeps_pixels() -> None:
    x, k = random(2, 3, 12, 8), random(3, 3, seed=1)
    assert torch.equal(Decimate(4, 3)(x), x[..., 3::4, 3::4])
    A = Decimate(4) @ Blur(k)
    near(A.for_shape((3, 12, 8))(x), Blur(k)(x)[..., ::4, ::4])
    with pytest.raises(ValueError, match="0 <= phase < factor .* got phase 4 and factor 4"):
        Decimate(4, 4)
    with pytest.raises(ValueError, match="by 5 needs sides that are multiples of 5, got 8x12"):
        Decimate(5)(x)


def test_hadamard_measures_rows_of_the_matrix() -> None:
    """Each row of A is one of H / sqrt(n), no row is there twice, and channels do not mix."""
    A = Hadamard(0.25, shape=(1, 4, 8))
    M, H = matrix(A.double(), 1, 4, 8), torch.from_numpy(scipy.linalg.hadamard(32) / 32**0.5)
    assert M.shape == (8, 32)
    hits = ((M[:, None] - H).abs() < 1e-12).all(2)
    assert (hits.sum(1) == 1).all() and (hits.sum(0) <= 1).all()
    x = random(1, 2, 4, 8)
    near(A(x)[:, 1:], A(x[:, 1:]))
    other = Hadamard(0.25, seed=1, shape=(1, 4, 8)).double()
    assert not torch.equal(other(x), A(x)) and torch.equal(A.for_shape((2, 4, 8))(x), A(x))
    with pytest.raises(ValueError, match="powers of two, got 8x6"):
        Hadamard().for_shape((3, 6, 8))
    with pytest.raises(ValueError, match=r"in \(0, 1\], got 2"):
        Hadamard(2)


def test_a_gaussian_matrix_hangs_on_its_seed_alone(monkeypatch) -> None:
    """However few rows are in memory at a time."""
    A, x, y = Compressed(0.5, shape=SHAPE), random(2, *SHAPE), random(2, 768, seed=1)
    one, back = A(x), A.adjoint(y)
    monkeypatch.setattr(compressed, "BLOCK", 7 * math.prod(SHAPE))
    near(A(x), one, rtol=1e-12, atol=1e-12)
    near(A.adjoint(y), back, rtol=1e-12, atol=1e-12)
    assert not torch.equal(Compressed(0.5, seed=1, shape=SHAPE)(x), one)
    near(A.adjoint(y).flatten(1), y @ matrix(A, *SHAPE), rtol=1e-10, atol=1e-10)


def test_a_gaussian_matrix_is_one() -> None:
    """Mean 0, variance 1 / m, no correlation of neighbors: within 4 standard errors."""
    M = 256**0.5 * matrix(Compressed(256 / 1536, shape=SHAPE), *SHAPE)
    assert M.shape == (256, 1536)
    error = M.numel() ** -0.5
    assert abs(M.mean()) < 4 * error and abs(M.square().mean() - 1) < 4 * 2**0.5 * error
    assert abs((M[:, 1:] * M[:, :-1]).mean()) < 4 * error
    assert abs((M[1:] * M[:-1]).mean()) < 4 * error


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 7, 10)], ids=str)
def test_fourier_is_numpys_centered_transform(shape: tuple[int, ...]) -> None:
    keep, x = random(*shape[1:], seed=3) > 0, random(2, *shape)
    y, axes = Fourier(keep)(x), (-2, -1)
    z = np.fft.fft2(np.fft.ifftshift(x.numpy(), axes), norm="ortho")
    z = torch.from_numpy(np.fft.fftshift(z, axes)) * keep
    near(y, torch.cat([z.real, z.imag], 1))
    A = Fourier(torch.ones(*shape[1:]))
    near(A.pinv(A(x)), x)
    assert Fourier(keep).for_shape(shape)(x).shape == y.shape
    with pytest.raises(ValueError, match="frequencies cannot take states of"):
        Fourier(keep).for_shape((1, 5, 5))


def test_frequencies_half_of_a_pair_are_enough() -> None:
    """A real image has conjugate halves: rows from the middle up tell all of it."""
    keep, x = torch.zeros(8, 8), random(1, 1, 8, 8)
    keep[:5] = 1  # -4 to 0; row 0 has both of each pair
    A = Fourier(keep.double())
    near(A.pinv(A(x)), x)


def test_radial_lines_pass_through_zero() -> None:
    keep = frequencies.radial(33, 33, 12)
    assert keep[16, 16] and torch.equal(keep, keep.flip(0, 1))
    assert keep[16].all() and keep[:, 16].all()  # at 0 and at 90 degrees
    assert 0.8 * 12 * 33 * 0.6 < keep.sum() < 12 * 45
    assert frequencies.radial(32, 48, 1).sum() == 48


def test_columns_of_frequencies() -> None:
    keep = frequencies.equispaced(4, 100, 4, 0.08)
    assert keep.shape == (4, 100) and (keep == keep[0]).all()
    assert keep[0, 46:54].all() and keep[0, 2::4].all() and keep.sum() == 4 * (25 + 6)
    counts = [frequencies.random(1, 200, 4, 0.1, seed).sum().item() for seed in range(200)]
    assert all(frequencies.random(1, 200, 4, 0.1, 1)[0, 90:110])
    chance = 30 / 180
    error = (180 * chance * (1 - chance) / 200) ** 0.5
    assert abs(np.mean(counts) - 50) < 4 * error
    with pytest.raises(ValueError, match="'spiral:3' as a frequency mask; write radial:LINES"):
        Fourier("spiral:3", (1, 8, 8))
    with pytest.raises(ValueError, match="cannot read 'radial:3,4'"):
        frequencies.draw("radial:3,4", 8, 8)
    with pytest.raises(ValueError, match="are from 1 to 10000, got equispaced:0"):
        frequencies.draw("equispaced:0", 8, 8)


def moments(k: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of a kernel from its middle, x and then y upwards, and its covariance."""
    n = len(k)
    at = torch.arange(n, dtype=torch.float64) - n // 2
    y, x = torch.meshgrid(-at, at, indexing="ij")
    p = torch.stack([x.flatten(), y.flatten()])
    mean = p @ k.double().flatten()
    return mean, (p - mean[:, None]) * k.double().flatten() @ (p - mean[:, None]).T


def test_a_gaussian_is_scipys_of_an_impulse() -> None:
    """The kernel of DPS: 61 x 61, sigma 3, zero beyond 4 sigma."""
    impulse = np.zeros((61, 61))
    impulse[30, 30] = 1
    expected = torch.from_numpy(scipy.ndimage.gaussian_filter(impulse, 3))
    k = kernels.gaussian(3)
    assert k.shape == (25, 25)
    near(F.pad(k, (18,) * 4).double(), expected, rtol=1e-5, atol=1e-9)
    assert kernels.gaussian(3, 61).shape == (61, 61)


def test_an_anisotropic_gaussian_leans_by_its_angle() -> None:
    _, cov = moments(kernels.anisotropic(5, 2, 30, 61))
    s, V = torch.linalg.eigh(cov)
    near(s.sqrt(), torch.tensor([2.0, 5.0]).double(), rtol=1e-3, atol=1e-3)
    assert abs(math.degrees(math.atan2(V[1, 1], V[0, 1])) % 180 - 30) < 0.01


@pytest.mark.parametrize("angle", [0, 20, 45, 90, 150])
def test_a_linear_motion_leans_by_its_angle_and_is_as_long_as_it_says(angle: float) -> None:
    """The variance of a line is length^2 / 12, and of a pixel 1 / 12 more or less."""
    mean, cov = moments(kernels.linear_motion(21, angle))
    assert mean.abs().max() < 1e-6
    s, V = torch.linalg.eigh(cov)
    assert abs(s[1] - 21**2 / 12) < 1.5 and s[0] < 0.2
    assert abs((math.degrees(math.atan2(V[1, 1], V[0, 1])) - angle + 90) % 180 - 90) < 1


def test_a_linear_motion_along_the_rows_is_a_mean() -> None:
    near(kernels.linear_motion(9)[4], torch.full((9,), 1 / 9), rtol=1e-3, atol=1e-6)
    near(kernels.linear_motion(4)[2], torch.tensor([0.5, 1, 1, 1, 0.5]) / 4, rtol=1e-3, atol=1e-6)
    assert kernels.linear_motion(1).tolist() == [[1.0]]


@pytest.mark.parametrize("intensity", [0, 0.3, 1])
def test_a_shaking_camera(intensity: float) -> None:
    shaken = torch.stack([kernels.motion(31, intensity, seed) for seed in range(20)])
    near(shaken.sum((1, 2)), torch.ones(20))
    assert (shaken >= 0).all()
    assert len({k.numpy().tobytes() for k in shaken}) == 20
    assert torch.equal(shaken[3], kernels.motion(31, intensity, 3))
    for k in shaken:
        mean, cov = moments(k)
        s = torch.linalg.eigvalsh(cov)
        assert mean.abs().max() < 0.5  # an image stays where it is
        assert s[0] < 0.2 or intensity > 0  # else it is a line
    spread = torch.stack([moments(k)[1].trace() for k in shaken]).mean()
    assert 75 < spread < 80 if intensity == 0 else 1 < spread < 75  # 30^2 / 12 of a straight path


def test_kernels_in_words(tmp_path) -> None:
    near(kernels.kernel("gaussian:3"), kernels.gaussian(3))
    near(kernels.kernel("motion:15,45"), kernels.linear_motion(15, 45))
    near(kernels.kernel("uniform:9"), torch.full((9, 9), 1 / 81))
    near(kernels.kernel("anisotropic:4,1.5,30"), kernels.anisotropic(4, 1.5, 30))
    near(kernels.kernel("shake:15,0.2,7"), kernels.motion(15, 0.2, 7))
    values = np.array([[0, 100, 0], [50, 200, 50], [0, 0, 0]], np.uint8)
    for name in ("k.png", "k.tif"):
        Image.fromarray(values).save(tmp_path / name)
        near(kernels.kernel(str(tmp_path / name)), torch.from_numpy(values / 400).float())
    Image.fromarray(np.stack([values] * 3, 2)).save(tmp_path / "rgb.png")
    near(kernels.kernel(str(tmp_path / "rgb.png")), torch.from_numpy(values / 400).float())
    Image.fromarray(257 * values.astype(np.uint16)).save(tmp_path / "deep.png")
    near(kernels.kernel(str(tmp_path / "deep.png")), torch.from_numpy(values / 400).float())


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("gaussian:x", "cannot read the kernel 'gaussian:x'; write gaussian:SIGMA,SIZE"),
        ("gaussian", "cannot read the kernel 'gaussian'; write gaussian:SIGMA,SIZE"),
        ("motion:1,2,3", "cannot read the kernel 'motion:1,2,3'; write motion:LENGTH,ANGLE"),
        ("gaussian:-1", "a Gaussian is wider than 0 pixels, got -1"),
        ("uniform:2.5", "the size of a kernel is an integer from 1 to 2047, got 2.5"),
        ("motion:0.5", "a motion is of 1 to 2047 pixels, got 0.5"),
        ("shake:9,2", "the intensity of a motion is from 0 to 1, got 2"),
        ("none.png", "no kernel 'none.png'; give an image, a .npy file, or gaussian:SIGMA,SIZE, "),
    ],
)
def test_kernels_that_cannot_be_made(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        kernels.kernel(text)
    assert str(caught.value).startswith(sentence)


def test_a_black_kernel_is_refused(tmp_path) -> None:
    Image.new("L", (3, 3)).save(tmp_path / "k.png")
    with pytest.raises(ValueError, match="one above 0, a pixel that is not black"):
        kernels.kernel(str(tmp_path / "k.png"))
