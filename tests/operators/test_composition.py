"""A @ B and stack(A, B): as dense algebra has them, and refused in a sentence where it has not."""

import dataclasses

import pytest
import torch
from torch import Tensor

from diffprior.catalog import build
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.base import (
    Composed,
    LinearComposed,
    LinearOperator,
    LinearStacked,
    Operator,
    Stacked,
    stack,
)
from diffprior.operators.identity import Identity
from diffprior.operators.mask import Mask
from diffprior.operators.matrix import Matrix
from diffprior.priors.mixture import MixturePrior

from support.exact import random
from support.operators import Blur, keep

SHAPE, D = (1, 4, 4), 16


class Sine(Operator):
    """y = sin x."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


def dense(A: Operator) -> Tensor:
    """Return A as a matrix ``(M, D)``."""
    return A(torch.eye(D, dtype=torch.float64).reshape(D, *SHAPE)).flatten(1).T


def blur() -> Blur:
    return Blur(SHAPE)


def mask() -> Mask:
    return Mask(keep(*SHAPE)).double()


def rows(m: int = 6) -> Matrix:
    return Matrix(random(m, D), SHAPE)


PAIRS = {
    "mask of blur": (mask, blur),
    "blur of mask": (blur, mask),
    "rows of blur": (rows, blur),
    "mask of mask": (mask, lambda: Mask(keep(1, 1, 4)).double()),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_product_is_the_product_of_the_matrices(name: str) -> None:
    A, B = (make() for make in PAIRS[name])
    C, x = A @ B, random(3, *SHAPE)
    assert type(C) is LinearComposed
    torch.testing.assert_close(dense(C), dense(A) @ dense(B))
    y = random(*C(x).shape, seed=1)
    torch.testing.assert_close(C.adjoint(y).flatten(1), y.flatten(1) @ dense(A) @ dense(B))


def test_a_product_of_three_needs_no_brackets() -> None:
    A, B, C, x = rows(), blur(), mask(), random(3, *SHAPE)
    torch.testing.assert_close((A @ B @ C)(x), (A @ (B @ C))(x))
    y = random(3, 6)
    torch.testing.assert_close((A @ B @ C).adjoint(y), (A @ (B @ C)).adjoint(y))


def test_a_product_is_of_the_class_that_both_allow() -> None:
    A, B, one, sine = rows(), mask(), Identity(), Sine()
    assert A @ one is A and one @ A is A and one @ sine is sine and sine @ one is sine
    assert type(A @ sine) is Composed and type(sine @ B) is Composed
    assert type(stack(A, B)) is LinearStacked and type(stack(A, sine)) is Stacked
    x = random(2, *SHAPE)
    torch.testing.assert_close((A @ sine)(x), A(x.sin()))
    torch.testing.assert_close((sine @ A)(x), A(x).sin())


def test_only_operators_are_composed() -> None:
    for inner in (torch.sin, random(2, 2)):
        with pytest.raises(TypeError, match=r"^A @ B composes operators, got a B of class \w+$"):
            rows() @ inner
    with pytest.raises(ValueError, match="^stack.* takes one operator or more, got none$"):
        stack()


def test_a_stack_is_the_matrices_one_over_the_other() -> None:
    parts = rows(), blur(), mask()
    A, x = stack(*parts, shape=SHAPE), random(3, *SHAPE)
    torch.testing.assert_close(dense(A), torch.cat([dense(B) for B in parts]))
    y = random(3, 6 + 16 + 16, seed=1)
    torch.testing.assert_close(A.adjoint(y).flatten(1), y @ dense(A))
    for part, B in zip(A.split(A(x)), parts, strict=True):
        assert torch.equal(part, B(x))
    hidden = A.split(A.mask_unmeasured(torch.ones_like(y)))
    assert hidden[0].all() and hidden[1].all() and torch.equal(hidden[2][0], keep(*SHAPE))


def test_a_stack_holds_a_nonlinear_part_as_well() -> None:
    A, x = stack(Sine(), rows() @ Sine(), shape=SHAPE), random(3, *SHAPE)
    first, second = A.split(A(x))
    assert torch.equal(first, x.sin()) and torch.equal(second, rows()(x.sin()))


def test_a_stack_without_a_shape_measures_and_says_what_it_lacks() -> None:
    A, x = stack(rows(), mask()), random(3, *SHAPE)
    y = A(x)
    for call in (A.split, A.mask_unmeasured, A.adjoint):
        with pytest.raises(ValueError, match="^to split y, give the shape of a state: stack"):
            call(y)
    torch.testing.assert_close(
        A.for_shape(SHAPE).adjoint(y), stack(rows(), mask(), shape=SHAPE).adjoint(y)
    )


def test_images_keep_their_own_parameters() -> None:
    each, x, index = Mask(keep(3, *SHAPE), batched=True).double(), random(3, *SHAPE), [2, 0, 0]
    at = torch.tensor(index)
    for A in (blur() @ each, each @ blur(), Sine() @ each, Composed(Sine(), each)):
        torch.testing.assert_close(A.select(at)(x[at]), A(x)[at])
    A = stack(blur(), each, shape=SHAPE)
    torch.testing.assert_close(A.select(at)(x[at]), A(x)[at])
    assert A(x[:1]).shape == (3, 32)  # one state, three masks


def test_shapes_are_found_from_the_inside_out() -> None:
    """A matrix of flat states behind a blur of images, and in a stack."""
    A = Matrix(random(6, D))
    x, y = random(2, *SHAPE), random(2, 6, seed=1)
    C = (A @ blur()).for_shape(SHAPE)
    assert C.outer.shape == SHAPE
    torch.testing.assert_close(C.adjoint(y).flatten(1), y @ A.A @ dense(blur()))
    assert stack(A, mask()).for_shape(SHAPE).operators[0].shape == SHAPE
    assert (A @ (rows(D) @ blur())).for_shape(SHAPE)(x).shape == (2, 6)


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    wide = Matrix(random(6, 20))
    with pytest.raises(ValueError, match=r"^a matrix of 20 columns cannot take states of shape"):
        (wide @ blur()).for_shape(SHAPE)
    with pytest.raises(ValueError, match=r"^Mask cannot measure states of shape \(1, 4, 4\): "):
        (Mask(keep(1, 5, 5)) @ Sine()).for_shape(SHAPE)
    for A in (stack(mask(), Mask(keep(5, 5))), wide @ stack(mask(), rows())):
        with pytest.raises(ValueError, match=r"^[^\n]* cannot (measure|take) states of [^\n]*$"):
            A.for_shape(SHAPE)


LINEAR = {
    "mask of blur": lambda: mask() @ blur(),
    "blur of mask": lambda: blur() @ mask(),
    "stack": lambda: stack(blur(), mask(), rows(), shape=SHAPE),
    "stack of one twice": lambda: stack(mask(), mask(), shape=SHAPE),
}
linear = pytest.mark.parametrize("name", LINEAR)


@linear
def test_the_pseudo_inverse_bears_a_y_that_no_state_explains(name: str) -> None:
    """CG on A A' x = y alone would run to infinity: A is not of full rank, and y is noisy."""
    A = LINEAR[name]()
    y = random(3, *A(random(1, *SHAPE)).shape[1:], seed=1)
    expected = y.flatten(1) @ torch.linalg.pinv(dense(A), rtol=1e-8).T
    torch.testing.assert_close(A.pinv(y).flatten(1), expected, rtol=1e-4, atol=1e-4)


@linear
@pytest.mark.parametrize("sigma", [0.0, 0.2])
def test_condition_is_the_exact_posterior_mean(name: str, sigma: float) -> None:
    """x_0 + var A' (var A A' + sigma^2)^+ (y - A x_0), for a noisy y at sigma = 0 as well."""
    A, var, x = LINEAR[name](), 0.7, random(3, *SHAPE)
    y = random(*A(x).shape, seed=1)
    M, r = dense(A), A.mask_unmeasured(y - A(x)).flatten(1)
    inner = var * M @ M.T + sigma**2 * torch.eye(len(M), dtype=torch.float64)
    gain = var * M.T @ torch.linalg.pinv(inner, rtol=1e-10, hermitian=True)
    ours = GaussianLikelihood(operator=A, y=y, sigma=sigma).condition(x, var)
    expected = x + (r @ gain.T).reshape(x.shape)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "method",
    [
        "mmps(sampler=ddim(steps=20))",
        "pigdm(sampler=ddim(steps=20))",
        "dps(sampler=ddim(steps=20))",
    ],
)
def test_a_method_meets_a_stack_of_rows_as_the_matrix_of_all_rows(
    method: str, gaussian: MixturePrior
) -> None:
    """The same draws, whichever way A is written, without a word of shapes; CG stops at 1e-6."""
    M, y = random(3, 4, seed=4), random(1, 3, seed=5)
    whole = GaussianLikelihood(operator=Matrix(M), y=y, sigma=0.3)
    halves = dataclasses.replace(whole, operator=stack(Matrix(M[:2]), Matrix(M[2:])))
    chain = dataclasses.replace(whole, operator=Matrix(M[:, :3]) @ Matrix(torch.eye(3, 4).double()))
    torch.testing.assert_close(
        build(method)(gaussian, halves, n=3),
        build(method)(gaussian, whole, n=3),
        rtol=1e-3,
        atol=1e-3,
    )
    short = dataclasses.replace(whole, operator=Matrix(M * torch.tensor([1, 1, 1, 0])))
    torch.testing.assert_close(
        build(method)(gaussian, chain, n=3),
        build(method)(gaussian, short, n=3),
        rtol=1e-3,
        atol=1e-3,
    )


def test_a_method_says_what_a_nonlinear_composition_lacks(gaussian: MixturePrior) -> None:
    likelihood = GaussianLikelihood(
        operator=Matrix(random(2, 4)) @ Sine(), y=random(1, 2), sigma=0.3
    )
    with pytest.raises(TypeError, match="^MMPS needs a LinearOperator, got Composed$"):
        build("mmps")(gaussian, likelihood)
    assert build("dps")(gaussian, likelihood, n=2).shape == (2, 4)


def test_a_linear_composition_is_typed_as_one() -> None:
    """Read by mypy: a likelihood of a LinearOperator takes both."""
    A: LinearOperator = rows() @ blur()
    B: LinearOperator = stack(rows(), blur())
    assert isinstance(A, LinearOperator) and isinstance(B, LinearOperator)
