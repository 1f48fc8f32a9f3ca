"""Both solvers against a dense one, row by row."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffprior.operators.compressed import Compressed
from diffprior.solvers import cg, dot, galerkin

from support.exact import random

SHAPE, D = (2, 3, 4), 24


def maps(M: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the map of image-shaped rows by one matrix each, row by row as an image would be."""

    def A(x: Tensor) -> Tensor:
        return torch.stack([m @ v for m, v in zip(M, x.flatten(1), strict=True)]).reshape(x.shape)

    return A


def positive(batch: int, floor: float = 0.5, seed: int = 0) -> Tensor:
    L = random(batch, D, D, seed=seed)
    return L @ L.mT / D + floor * torch.eye(D, dtype=torch.float64)


def solve(M: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.solve(M, b.flatten(1)[..., None])[..., 0].reshape(b.shape)


def test_dot_is_of_each_row() -> None:
    u, v = random(3, *SHAPE), random(3, *SHAPE, seed=1)
    expected = torch.stack([(a * b).sum() for a, b in zip(u, v, strict=True)])
    torch.testing.assert_close(dot(u, v), expected.reshape(3, 1, 1, 1))


def test_cg_solves_every_row() -> None:
    M, b = positive(4), random(4, *SHAPE, seed=1)
    x = cg(maps(M), b, iterations=60, tolerance=1e-13)
    torch.testing.assert_close(x, solve(M, b), rtol=0, atol=1e-9)


def symmetric(A: Callable[[Tensor], Tensor], b: Tensor, iterations: int = 5, **kwargs) -> Tensor:
    """Return the x that ``galerkin`` gives the weights of, from what it asked the map for."""
    asked: list[Tensor] = []

    def told(v: Tensor) -> Tensor:
        asked.append(v)
        return A(v)

    weights = galerkin(told, b, iterations, **kwargs)
    return torch.einsum("kb,kb...->b...", weights, torch.stack(asked))


@pytest.mark.parametrize("iterations", [1, 3, 6])
def test_galerkin_is_cg_where_the_map_is_symmetric(iterations: int) -> None:
    M, b = positive(4), random(4, *SHAPE, seed=1)
    expected = cg(maps(M), b, iterations, tolerance=0)
    torch.testing.assert_close(symmetric(maps(M), b, iterations), expected, rtol=0, atol=1e-12)


def test_galerkin_bears_a_map_that_is_not_quite_symmetric() -> None:
    """Eigenvalues of 1 to 100 known to within 5: the error is bounded, and CG's is not."""
    scale = torch.logspace(0, 2, D, dtype=torch.float64).expand(20, D)
    off = random(20, D, D, seed=3)
    M, b = torch.diag_embed(scale) + 5 * (off - off.mT) / (2 * D**0.5), random(20, *SHAPE, seed=1)
    truth = (b.flatten(1) / scale).reshape(b.shape)

    def error(x: Tensor) -> Tensor:
        return (x - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)

    for iterations in (2, 5, 10, D):
        assert error(symmetric(maps(M), b, iterations, least=1.0)).max() < 1
    assert error(cg(maps(M), b, D, tolerance=0)).max() > 5


def test_galerkin_leaves_out_what_cannot_be() -> None:
    """A covariance that is negative in some direction says nothing of it: there x is zero."""
    M = torch.diag_embed(torch.tensor([[2.0, 1.0, -0.5, 0.05]], dtype=torch.float64))
    x = symmetric(maps(M), torch.ones(1, 4, dtype=torch.float64), 4, least=0.1)
    expected = torch.tensor([[0.5, 1.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("solver", [cg, symmetric])
def test_exact_in_as_many_iterations_as_there_are_eigenvalues(solver) -> None:
    """sigma^2 + a covariance of rank 2 has 3: what MMPS asks for."""
    L = random(3, D, 2)
    M, b = L @ L.mT + 0.1 * torch.eye(D, dtype=torch.float64), random(3, *SHAPE, seed=1)
    x = solver(maps(M), b, iterations=3, tolerance=1e-10)
    torch.testing.assert_close(x, solve(M, b), rtol=0, atol=1e-6)
    assert (solver(maps(M), b, iterations=2) - solve(M, b)).abs().max() > 1e-2


@pytest.mark.parametrize("solver", [cg, symmetric])
@pytest.mark.parametrize("iterations", [1, 4, 30])
def test_a_row_does_not_know_its_neighbors(solver, iterations: int) -> None:
    """Step lengths and stopping are of each row; the neighbors here are 1e6 times worse."""
    M = torch.cat([positive(1), positive(2, 1e-6, seed=5) * torch.logspace(0, 6, D)])
    M = torch.cat([M[:1], M[1:] @ M[1:].mT])
    b = torch.cat([random(1, *SHAPE, seed=1), 1e4 * random(2, *SHAPE, seed=2)])
    alone = solver(maps(M[:1]), b[:1], iterations)
    torch.testing.assert_close(solver(maps(M), b, iterations)[:1], alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solver", [cg, symmetric])
def test_a_row_of_zeros_stays_zero(solver) -> None:
    M, b = positive(3), random(3, *SHAPE, seed=1)
    b[1] = 0
    x = solver(maps(M), b, 10)
    assert torch.equal(x[1], torch.zeros(SHAPE, dtype=torch.float64)) and x.isfinite().all()


def test_cg_stops_each_row_at_its_own_tolerance() -> None:
    """A converged row is frozen: later iterations leave the very same bits."""
    scale = torch.ones(2, D, dtype=torch.float64)
    scale[1] = torch.linspace(1, 50, D)
    M, b = torch.diag_embed(scale), random(2, *SHAPE)
    few, many = cg(maps(M), b, 2), cg(maps(M), b, 50)
    assert torch.equal(few[0], many[0]) and not torch.equal(few[1], many[1])


@pytest.mark.parametrize("solver", [cg, symmetric])
def test_a_singular_system_has_its_solution_in_the_range(solver) -> None:
    """Hidden pixels are rows of zeros, with zeros on the right."""
    keep = torch.tensor([1.0, 2.0, 0.0, 0.0], dtype=torch.float64)
    x = solver(lambda v: keep * v, torch.tensor([[3.0, 4.0, 0.0, 0.0]], dtype=torch.float64), 10)
    expected = torch.tensor([[3.0, 2.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("solver", [cg, symmetric])
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e8])
def test_float32_to_its_own_precision(solver, size: float) -> None:
    M, b = positive(4, 1.0), random(4, *SHAPE, seed=1)
    x = solver(maps(M.float()), (size * b).float(), 30)
    error = (x.double() / size - solve(M, b)).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
    assert x.dtype == torch.float32 and error.max() < 1e-5


@pytest.mark.parametrize("iterations", [20, 50, 500])
def test_cg_stays_at_the_rounding_floor(iterations: int) -> None:
    """Of a singular float32 system whose tolerance is just missed, and of each row alone."""
    A = Compressed(0.25).for_shape((3, 32, 32))
    y = A(2 * random(2, 3, 32, 32, dtype=torch.float32))
    x = cg(lambda v: A.adjoint(A(v)), A.adjoint(y), iterations)
    assert (A(x) - y).norm() < 1e-5 * y.norm()
    assert x.norm() < 2 * y.norm()  # the least solution; the null space blows up unseen
    assert torch.equal(cg(lambda v: A.adjoint(A(v)), A.adjoint(y[1:]), iterations), x[1:])
