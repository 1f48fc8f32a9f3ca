"""Every operator of the folder: its adjoint, its pseudo-inverse, its SVD, its rows of a batch."""

from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from diffprior.catalog import build, find, names
from diffprior.operators import blur, circular_blur, fourier
from diffprior.operators.base import (
    Composed,
    DiagonalOperator,
    LinearOperator,
    Operator,
    SVDOperator,
    stack,
)
from diffprior.operators.identity import Identity
from diffprior.operators.mask import Mask
from diffprior.operators.matrix import Matrix
from diffprior.operators.physics import Physics

from support.exact import random
from support.operators import SHAPE, Blur, keep

DEEPINV = find_spec("deepinv") is not None
B = 3


def taps(*shape: int) -> Tensor:
    """A kernel far from singular, skewed."""
    k = random(*shape, seed=7).exp() / 100
    k[..., shape[-2] // 2, shape[-1] // 2] += 1
    return k


def cameras() -> tuple[Physics, Physics]:
    """Two of deepinv: a blur whose filter is complex inside, and one that is not linear."""
    from deepinv import physics

    even = physics.BlurFFT(SHAPE, filter=taps(1, 1, 3, 3).float())
    return Physics(even), Physics(physics.Physics(A=torch.tanh))


def made(words: str) -> Callable[[], Operator]:
    return lambda: build(words, ("operators",)).for_shape(SHAPE)


CASES: dict[str, dict[str, Callable[[], Operator]]] = {
    "average": {"2": made("average(factor=2)"), "4": made("average(factor=4)")},
    "bicubic": {"2": made("bicubic(factor=2)"), "3": made("bicubic(factor=3)")},
    "blur": {
        "reflect": lambda: blur.Blur(taps(3, 5)),
        "circular": lambda: blur.Blur(taps(4, 3), boundary="circular"),
        "zero": lambda: blur.Blur(taps(2, 7), boundary="zero"),
        "free": lambda: blur.Blur(taps(4, 3), boundary="free"),
        "free, batched": lambda: blur.Blur(taps(B, 3, 4), boundary="free"),
        "batched": lambda: blur.Blur(taps(B, 3, 4)),
    },
    "circular_blur": {
        "odd": lambda: circular_blur.CircularBlur(taps(5, 3), SHAPE),
        "even": lambda: circular_blur.CircularBlur(taps(8, 2), SHAPE),
        "batched": lambda: circular_blur.CircularBlur(taps(B, 3, 3), SHAPE),
        "with zeros": lambda: circular_blur.CircularBlur(torch.ones(2, 4).double(), SHAPE),
    },
    "compressed": {"": made("compressed(ratio=0.25)")},
    "decimate": {"": made("decimate(factor=2, phase=1)")},
    "fourier": {
        "radial": made("fourier(keep='radial:3')"),
        "entries": lambda: fourier.Fourier(keep(8, 8)),
        "batched": lambda: fourier.Fourier(keep(B, 8, 8)),
    },
    "gamma_blur": {"": made("gamma_blur(sigma=0.8)")},
    "gray": {
        "mean": made("grey"),
        "luminance": made("gray(weights='luminance')"),
        "orthonormal": made("gray(weights='orthonormal')"),
    },
    "hadamard": {"1/4": made("hadamard(ratio=0.25)"), "1/2": made("hadamard(ratio=0.5)")},
    "hdr": {"": made("hdr")},
    "identity": {"": Identity},
    "jpeg": {
        "soft": made("jpeg(quality=20)"),
        "exact": made("jpeg(quality=20, exact=True)"),
        "batched": made("jpeg(quality=[5, 50, 95])"),
    },
    "mask": {
        "pixels": lambda: Mask(keep(1, 8, 8)),
        "entries": lambda: Mask(keep(*SHAPE) > 0),
        "batched": lambda: Mask(keep(B, 1, 8, 8), batched=True),
        "nothing": lambda: Mask(torch.zeros(1, 8, 8)),
    },
    "matrix": {
        "wide": lambda: Matrix(random(20, 192), SHAPE),
        "tall": lambda: Matrix(random(210, 192), SHAPE),
        "of rank 5": lambda: Matrix(random(20, 5) @ random(5, 192, seed=1), SHAPE),
    },
    "phase_retrieval": {
        "amplitude": made("phase_retrieval"),
        "of light": made("phase_retrieval(oversample=4, light=True)"),
    },
    "physics": {"linear": lambda: cameras()[0], "any": lambda: cameras()[1]} if DEEPINV else {},
    "quantize": {
        "straight through": made("quantize(bits=2)"),
        "hard": made("quantize(bits=3, straight_through=False)"),
    },
}
TOYS = {
    "toy": {
        "": Blur,
        "product": lambda: Mask(keep(1, 8, 8)) @ Blur(),
        "product of less rank": lambda: Blur() @ Mask(keep(B, 1, 8, 8), batched=True),
        "stack": lambda: stack(Blur(), Mask(keep(B, 1, 8, 8), batched=True), shape=SHAPE),
        "composed": lambda: Composed(Mask(keep(B, 1, 8, 8), batched=True), torch.sin),
        "mixed stack": lambda: stack(Composed(Blur(), torch.sin), Mask(keep(8, 8)), shape=SHAPE),
    }
}
SHAPES: dict[str, tuple[int, ...]] = {}


def test_every_operator_of_the_folder_is_tested() -> None:
    missing = set(names("operators")) - set(CASES)
    assert not missing, f"add {', '.join(sorted(missing))} to CASES in tests/test_operators.py"
    for name, cases in CASES.items():
        assert all(isinstance(make(), find(name, ("operators",))) for make in cases.values())


ALL = [
    pytest.param(make, SHAPES.get(name, SHAPE), id=f"{name} {case}".strip())
    for name, cases in (CASES | TOYS).items()
    for case, make in cases.items()
]
every = pytest.mark.parametrize("make, shape", ALL)
LINEAR = [p for p in ALL if isinstance(p.values[0](), LinearOperator)]
SVD = [p for p in ALL if isinstance(p.values[0](), SVDOperator)]
linear = pytest.mark.parametrize("make, shape", LINEAR)
svd = pytest.mark.parametrize("make, shape", SVD)


@linear
def test_the_adjoint_is_the_adjoint(make, shape) -> None:
    """<A x, y> = <x, A' y> to 1e-10 in float64, row by row."""
    A, x = make().double(), random(B, *shape)
    y = random(*A(x).shape, seed=1)
    left, right = (A(x) * y).flatten(1).sum(1), (x * A.adjoint(y)).flatten(1).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


@linear
def test_it_is_linear(make, shape) -> None:
    A, u, v = make().double(), random(B, *shape), random(B, *shape, seed=1)
    torch.testing.assert_close(A(2 * u - 3 * v), 2 * A(u) - 3 * A(v), rtol=1e-10, atol=1e-10)


@linear
def test_the_pseudo_inverse_is_one(make, shape) -> None:
    """A A+ A = A, A+ A A+ = A+, and A+ A is symmetric (CG stops at 1e-6)."""
    A, x = make().double(), random(B, *shape)
    y, z = random(*A(x).shape, seed=1), random(B, *shape, seed=2)
    tolerance = 1e-9 if isinstance(A, SVDOperator) else 1e-4
    near = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(A(A.pinv(A(x))), A(x), **near)
    torch.testing.assert_close(A.pinv(A(A.pinv(y))), A.pinv(y), **near)
    left, right = (A.pinv(A(x)) * z).sum(), (x * A.pinv(A(z))).sum()
    torch.testing.assert_close(left, right, **near)


@svd
def test_the_svd_is_one(make, shape) -> None:
    """A = U diag(s) V', V' V = V V' = 1, U' U = 1 where s > 0, and s is not negative."""
    A, x = make().double(), random(B, *shape)
    z = A.to_spectrum(x)
    torch.testing.assert_close(A.from_left(A.s * z), A(x))
    torch.testing.assert_close(A.from_spectrum(z), x)
    torch.testing.assert_close(A.to_spectrum(A.from_spectrum(z)), z)
    torch.testing.assert_close(z.square().sum(), x.square().sum())
    real = (A.s > 1e-9).expand_as(z)
    back = A.to_left(A.from_left(torch.where(real, z, 0)))
    torch.testing.assert_close(torch.where(real, back, 0), torch.where(real, z, 0))
    assert (A.s >= 0).all()


@every
def test_rows_of_a_batch_do_not_meet(make, shape) -> None:
    """take(index) is the operator of those images: A_i(x_i) = (A x)_i, repeats allowed."""
    A, x, index = make().double(), random(B, *shape), torch.tensor([2, 0, 0])
    torch.testing.assert_close(A.select(index)(x[index]), A(x)[index])
    y = A(x)
    torch.testing.assert_close(
        A.select(index).mask_unmeasured(y[index]), A.mask_unmeasured(y)[index]
    )


@every
def test_what_is_measured_is_seen(make, shape) -> None:
    A, x = make().double(), random(B, *shape)
    y = random(*A(x).shape, seed=1)
    torch.testing.assert_close(A.mask_unmeasured(A(x)), A(x))
    torch.testing.assert_close(A.mask_unmeasured(A.mask_unmeasured(y)), A.mask_unmeasured(y))
    if isinstance(A, LinearOperator):
        torch.testing.assert_close(A.adjoint(A.mask_unmeasured(y)), A.adjoint(y))


@every
def test_a_call_changes_nothing(make, shape) -> None:
    """Guards operators that draw their kernel anew at every call, or write into their input."""
    A, x = make().double(), random(B, *shape)
    before = x.clone()
    assert torch.equal(A(x), A(x)) and torch.equal(x, before) and not A(x).requires_grad


@every
def test_gradients_pass(make, shape) -> None:
    A, x = make().double(), random(B, *shape).requires_grad_()
    y = random(*A(x).shape, seed=1)
    (grad,) = torch.autograd.grad(A(x), x, y)
    assert grad.shape == x.shape
    if isinstance(A, LinearOperator):
        torch.testing.assert_close(grad, A.adjoint(y), rtol=1e-10, atol=1e-10)


def test_autograd_writes_the_adjoint_of_a_blur_which_is_not_the_blur() -> None:
    """Guards an adjoint that is the map itself: right for even kernels only."""
    A, y = Blur(), random(2, *SHAPE)
    assert (A.adjoint(y) - A(y)).abs().max() > 0.1
    with torch.no_grad():
        assert A.adjoint(y).abs().sum() > 0  # inside a sampler's no_grad as well


def test_a_matrix_is_the_matrix() -> None:
    M, x = random(5, 12), random(2, 3, 2, 2)
    A = Matrix(M, (3, 2, 2))
    torch.testing.assert_close(A(x), x.flatten(1) @ M.T)
    torch.testing.assert_close(A.pinv(A(x)).flatten(1), A(x) @ torch.linalg.pinv(M).T)
    flat = Matrix(M)
    torch.testing.assert_close(flat.for_shape((3, 2, 2)).adjoint(A(x)), A.adjoint(A(x)))
    assert flat.for_shape((12,)) is flat
    with pytest.raises(ValueError, match=r"^a matrix of 12 columns cannot take states of shape"):
        flat.for_shape((3, 5))


def test_a_mask_with_weights_divides_by_them() -> None:
    A = Mask(torch.tensor([2.0, 0.5, 0.0]))
    assert isinstance(A, DiagonalOperator)
    y = torch.tensor([[4.0, 1.0, 7.0]])
    torch.testing.assert_close(A.pinv(y), torch.tensor([[2.0, 2.0, 0.0]]))


def test_seen_leaves_what_was_measured_as_it_is() -> None:
    y = random(1, 3)
    hidden = Mask(torch.tensor([1.0, 1.0, 0.0])).mask_unmeasured(y)
    assert torch.equal(hidden[:, :2], y[:, :2]) and hidden[0, 2] == 0


def test_composed_forwards_everything() -> None:
    outer, inner = Mask(keep(B, 1, 8, 8), batched=True), lambda z: z.sin()
    A, z = Composed(outer, inner), random(B, *SHAPE)
    torch.testing.assert_close(A(z), outer(z.sin()))
    torch.testing.assert_close(A.mask_unmeasured(z), outer.mask_unmeasured(z))
    torch.testing.assert_close(A.select(torch.tensor([1]))(z[1:2]), outer(z.sin())[1:2])
    assert not isinstance(A, LinearOperator)


@every
def test_on_another_device_it_is_a_copy(make, shape) -> None:
    """A user's operator stays where it is when a solve works on a GPU."""
    A = make()
    numbers = [*A.parameters(), *A.buffers()]
    assert A.beside(torch.empty(0)) is A
    there = A.beside(torch.empty(0, device="meta"))
    moved = [*there.parameters(), *there.buffers()]
    assert {x.device.type for x in moved} == ({"meta"} if numbers else set())
    assert all(x.device.type == "cpu" for x in [*A.parameters(), *A.buffers()])
    assert there is not A or not numbers


def test_an_operator_moves_with_its_dtype() -> None:
    for make, shape in (p.values for p in LINEAR):
        A = make().float()
        assert A(random(B, *shape).float()).dtype == torch.float32
