"""Large images band by band: the same bits, and one copy in place of several."""

import importlib
from functools import partial

import numpy as np
import pytest
import torch
from skimage.restoration import estimate_sigma
from torch import Tensor

import diffprior
from diffprior import bands
from diffprior.batching import Callback, batched
from diffprior.classical.colors import propagate_colors
from diffprior.classical.fill import biharmonic, local_mean, pyramid
from diffprior.diffusions import GaussianDiffusion
from diffprior.inversions.direct import DirectInversion
from diffprior.inversions.edit_friendly import EditFriendly
from diffprior.io.arrays import as_images
from diffprior.io.jpeg import standard
from diffprior.kernels import GaussianKernel
from diffprior.likelihoods import GaussianLikelihood
from diffprior.likelihoods.jpeg import CellLikelihood, Coefficients
from diffprior.methods.base import Posterior
from diffprior.methods.score_sde import splice
from diffprior.operators import bicubic
from diffprior.operators.average import Average
from diffprior.operators.base import stack
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.blur import Blur
from diffprior.operators.gray import Gray
from diffprior.operators.identity import Identity
from diffprior.operators.mask import Mask
from diffprior.random import Noise
from diffprior.runtime.gray import tones
from diffprior.runtime.noise_level import wavelet_noise
from diffprior.solvers import cg

from support.priors import Shrinks

restore = importlib.import_module("diffprior.tasks.restore")  # the page, not its function
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


KEEP = Mask((images(3)[:, :1] > 0).float(), batched=True)
OPERATORS = {
    "identity": Identity(),
    "mask": KEEP,
    "gray": Gray("luminance"),
    "average": Average(4),
}
SOLVED = {  # by conjugate gradients, or by matrices
    "scratches on a gray photo": KEEP @ Gray("luminance"),
    "colors of strokes": stack(Gray("luminance"), Mask(images(3)[:, :1].abs()), shape=SHAPE[1:]),
    "scratches on a blurred photo": KEEP @ Blur("gaussian:1"),
    "scratches on a gray, blurred photo": KEEP @ Gray("luminance") @ Blur("gaussian:1"),
    "bicubic": Bicubic(4, SHAPE[1:]),
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


@pytest.mark.parametrize("name", SOLVED)
def test_a_mean_given_data_is_that_of_the_whole(small_bands, name):
    A = SOLVED[name]
    known = GaussianLikelihood(operator=A, y=A(images()), sigma=0.1)
    whole, fit = known.condition(images(1), 0.05), known.chi2(images(1))
    small_bands()
    assert torch.allclose(known.condition(images(1), 0.05), whole, atol=2e-5)
    assert torch.allclose(known.chi2(images(1)), fit, rtol=1e-5)


def test_colors_are_lost_before_or_after_a_blur(monkeypatch):
    """A large gray photo is blurred in one channel, not in three."""
    given = (KEEP.s, Blur("gaussian:1"), Gray("luminance"))
    before = restore._composed(*given)
    monkeypatch.setattr(restore, "LARGE", 1000)
    after = restore._composed(*given)
    assert isinstance(after.inner, Gray) and not isinstance(before.inner, Gray)
    assert torch.allclose(after(images()), before(images()), atol=1e-6)
    y = images(1)[:, :1]
    assert torch.allclose(after.adjoint(y), before.adjoint(y), atol=1e-6)


@pytest.mark.parametrize("A", [KEEP, KEEP @ Gray("luminance"), SOLVED["colors of strokes"]])
def test_a_band_of_y_is_what_the_band_of_x_gives(A):
    y, rows = A(images()), slice(16, 40)
    own, cut = A.band(rows, y)
    assert own(images()[..., rows, :]).equal(cut)


def test_a_jpeg_band_has_the_coefficients_of_its_blocks():
    A = Coefficients(SHAPE[1:], standard(30, "4:2:0"))
    own, cut = A.band(slice(16, 48), A(images()))
    assert torch.allclose(own(images()[..., 16:48, :]), cut, atol=1e-3)


def test_a_long_axis_has_the_same_filter_without_its_square_matrix(monkeypatch):
    """The low-pass filter of a photo of 24 megapixels took two square matrices, and minutes."""
    shape = (1, 3, 70, 90)
    whole = Bicubic(4, shape[1:])
    monkeypatch.setattr(bicubic, "LONG", 80)  # the width is long, the height is not
    bicubic._svd.cache_clear()
    part = Bicubic(4, shape[1:])
    bicubic._svd.cache_clear()
    x = Noise(0).normal(torch.empty(shape))
    y = whole(x)
    assert part.V_w.shape == (90, 23) and part.V_h.shape == (70, 70)
    assert torch.allclose(part(x), y, atol=1e-5)
    assert torch.allclose(part.adjoint(y), whole.adjoint(y), atol=1e-5)
    assert torch.allclose(part.pinv(y), whole.pinv(y), atol=1e-4)
    z = part.to_spectrum(x)
    assert torch.allclose(part.from_spectrum(z), x, atol=1e-5)
    assert torch.allclose(part.from_left(part.s * z), y, atol=1e-5)


RANDOM = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) / 18
PRODUCT = torch.outer(torch.tensor([0.1, 0.3, 0.4, 0.1]), torch.tensor([0.2, 0.1, 0.5, 0.1, 0.3]))


@pytest.mark.parametrize("kernel", [RANDOM, PRODUCT])
@pytest.mark.parametrize("boundary", ["free", "reflect", "circular", "zero"])
def test_a_blur_in_bands_is_that_of_the_whole(small_bands, boundary, kernel):
    A = Blur(kernel, boundary)
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


def test_a_spliced_draw_has_the_bits_of_the_whole(small_bands):
    A = Average(4)
    known = GaussianLikelihood(operator=A, y=A(images()))
    rest = GaussianKernel(images(1), torch.tensor(0.2))
    kernel = splice(Posterior(Shrinks(SHAPE[1:]), known), rest, torch.tensor(0.5))
    whole = kernel.sample(Noise(4))
    small_bands()
    assert kernel.sample(Noise(4)).equal(whole)


@pytest.fixture
def scratched():
    hole = torch.zeros(1, 1, *SHAPE[2:], dtype=torch.bool)
    hole[..., 20:60, 28:30] = True
    hole[..., :3, 40:44] = True  # at the border
    return images(), hole


def test_fills_in_bands_are_those_of_the_whole(small_bands, scratched):
    x, hole = scratched
    known = 1 - hole.float()
    pulled, mean, smooth = pyramid(x, hole), local_mean(x, known, 8), biharmonic(x, hole)
    small_bands()
    assert pyramid(x, hole).equal(pulled) and local_mean(x, known, 8).equal(mean)
    assert (smooth - pulled).abs().max() > 0.1  # what was solved for
    again = biharmonic(x, hole)
    assert torch.allclose(again, smooth, atol=1e-4)
    assert again[..., known[0, 0] == 1].equal(x[..., known[0, 0] == 1])


def test_colors_of_strokes_are_those_of_the_whole(small_bands):
    x, known = images(), images(3)[:, :1] > 0.9
    luma = Gray("luminance")(Blur("gaussian:3")(x))
    whole = propagate_colors(x, known, luma)
    small_bands()
    assert torch.allclose(propagate_colors(x, known, luma), whole, atol=1e-3)


def test_a_solve_in_place_is_that_of_the_whole(small_bands):
    scale = 0.5 + images(3).abs()
    b = images()
    whole = cg(lambda v: scale * v, b)
    small_bands()
    assert torch.allclose(cg(lambda v: scale * v, b), whole, atol=1e-5)
    assert b.equal(images())


@pytest.mark.parametrize("inversion", [EditFriendly(steps=4), DirectInversion(steps=4)])
@pytest.mark.parametrize("half", [False, True])
def test_a_code_has_the_bits_of_the_whole(small_bands, inversion, half):
    prior = Shrinks(SHAPE[1:])
    whole = inversion.encode(prior, images(), Noise(0), half=half)
    back = inversion.decode(prior, whole)
    small_bands()
    code = inversion.encode(prior, images(), Noise(0), half=half)
    assert code.keys() == whole.keys()
    assert all(code[key].to(v).equal(v) for key, v in whole.items())
    assert inversion.decode(prior, code).equal(back)
    assert torch.allclose(back, images(), atol=1e-3)


def test_noise_is_measured_as_in_the_whole(small_bands):
    x = images() + 0.1 * Noise(5).normal(torch.empty(SHAPE))
    whole = wavelet_noise(x)
    small_bands(large=2000)
    assert wavelet_noise(x) == whole
    odd = x[..., :71, :59]
    usual = np.mean([estimate_sigma(c.double().numpy() / 2) for c in odd[0]])
    assert wavelet_noise(odd) == [pytest.approx(usual, rel=1e-12)]


def test_a_tone_is_that_of_the_whole(small_bands):
    gray = (images()[:, :1] + 1) / 2
    sepia = torch.cat([gray, 0.8 * gray, 0.55 * gray], 1) + 0.01 * images(1)
    photo = as_images(sepia[0].clamp(0, 1))
    (whole,) = tones(photo)
    small_bands()
    (tone,) = tones(photo)
    assert whole is not None and tone is not None and tone.rest.dtype == torch.float32
    assert np.allclose(tone.shifts, whole.shifts)
    assert torch.allclose(tone.color(images(2)[:, :1]), whole.color(images(2)[:, :1]), atol=1e-6)


def test_what_is_finished_lies_in_a_file(small_bands, monkeypatch):
    """Each sample of a large image waited for the others in memory: 0.3 GB at 24 megapixels."""
    monkeypatch.setattr(bands, "MUCH", 20000)
    small_bands()

    def work(rows: Tensor, streams: Noise, callback: Callback) -> Tensor:
        return streams.normal(torch.empty(len(rows), *SHAPE[1:]))

    x = batched(work, Noise(0, samples=3), None, 1)
    assert bands._files[x.untyped_storage().data_ptr()].size() == 4 * x.numel()
    bands.let_go(x)
    assert x.equal(Noise(0, samples=3).normal(torch.empty(3, *SHAPE[1:])))
    x += 1
    bands.let_go(x)
    assert x.mean() > 0.9
    address = x.untyped_storage().data_ptr()
    del x
    assert address not in bands._files


def test_where_no_file_has_room_memory_has(monkeypatch):
    def full(size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bands, "_mapped", full)
    monkeypatch.setattr(bands, "MUCH", 10)
    assert bands.stored((3, 5), torch.empty(0)).shape == (3, 5) and not bands._files


def put_small(sample: object) -> np.ndarray:
    return np.asarray(sample, np.int16)


TASKS = {
    "sdedit": partial(diffprior.sdedit, strength=0.3, samples=3),
    "blend": partial(diffprior.blend, strength=0.5, repeats=2),
    "edit": partial(diffprior.edit, strength=0.5),
    "invert": partial(diffprior.invert),
    "style": partial(diffprior.style, factor=4),
    "variations": partial(diffprior.variations, samples=3),
    "interpolate": partial(diffprior.interpolate, samples=3),
    "colorize": partial(diffprior.colorize),
    "restore": partial(diffprior.restore, sigma=0.02),
}
MASKED = ("blend", "edit", "restore")


@pytest.mark.parametrize("name", TASKS)
def test_a_task_in_bands_gives_the_image_of_the_whole(small_bands, monkeypatch, name):
    """Finished samples, and the states of an inversion, are in files then."""
    photo = ((images()[0].movedim(0, -1) + 1) * 127.5).to(torch.uint8).numpy()
    mask = np.zeros(photo.shape[:2], bool)
    mask[20:40, 20:30] = True
    given = {"interpolate": (photo[::-1].copy(),)}.get(name, (mask,) if name in MASKED else ())
    task = partial(TASKS[name], photo, *given, steps=3, prior=Shrinks(SHAPE[1:]))
    whole = task()
    small_bands()
    monkeypatch.setattr(bands, "MUCH", 20000)
    parts = task()
    for part, one in zip(parts.samples, whole.samples, strict=True):
        assert np.abs(put_small(part) - put_small(one)).max() <= 1
    assert np.abs(put_small(parts.mean) - put_small(whole.mean)).max() <= 1
    if whole.std is not None:
        assert np.allclose(parts.std, whole.std, atol=1e-2) and whole.std.max() > 0.01
