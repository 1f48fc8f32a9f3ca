"""Linear solvers: one system per row of a batch, of any shape, each stopping on its own.

A row that has converged is frozen rather than left out, so that a row's answer does not depend on
its neighbors; whether all have is read back from the device at every eighth product only.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["cg", "dot", "galerkin"]

NEAR = 256  # roundings; a residual below so many of its right-hand side is near the floor
RISE = 16  # of a squared residual, which CG does not lower at every step


def dot(u: Tensor, v: Tensor) -> Tensor:
    """Return the inner product of each pair of rows, of shape ``(B, 1, ..., 1)``.

    The sum is one of float64 where the device has it: in float32 its order, and so its last bits,
    would hang on the size of the batch.
    """
    wide = u.dtype if u.device.type == "mps" else torch.float64
    total = (u * v).flatten(1).sum(1, dtype=wide).to(u.dtype)
    return total.reshape(-1, *(1,) * (u.ndim - 1))


def cg(
    A: Callable[[Tensor], Tensor], b: Tensor, iterations: int = 50, tolerance: float = 1e-6
) -> Tensor:
    """Solve A x = b for a symmetric positive semi-definite A, from x = 0.

    Near the rounding floor the directions lie where A is zero to rounding, and steps along them
    blow up: a row whose residual rises there ends, at its iterate of the least residual.

    Arguments:
        A: The map of a batch of rows to a batch of rows.
        b: Right-hand sides, of shape ``(B, *)``.
        iterations: The most products with A.
        tolerance: A row stops when its residual is this much smaller than its right-hand side.
    """
    x, r, p = torch.zeros_like(b), b, b
    rr = dot(r, r)
    enough, floor = tolerance**2 * rr, (NEAR * torch.finfo(b.dtype).eps) ** 2 * rr
    best, least, going, lost = x, rr, rr > enough, rr < 0
    for i in range(iterations):
        if i % 8 == 7 and not going.any():
            break
        Ap = A(p)
        curvature = dot(p, Ap)
        going = going & (curvature > 0)
        step = torch.where(going, rr / torch.where(going, curvature, 1), 0)
        x, r = x + step * p, r - step * Ap
        rr, old = dot(r, r), rr
        p = r + torch.where(going, rr / torch.where(going, old, 1), 0) * p
        best, least = torch.where(rr < least, x, best), torch.fmin(rr, least)
        lost = (least < floor) & ~(rr <= RISE * least)
        going = going & (rr > enough) & ~lost
    return torch.where(lost, best, x)


def galerkin(
    A: Callable[[Tensor], Tensor],
    b: Tensor,
    iterations: int = 5,
    least: float = 0.0,
    tolerance: float = 1e-6,
) -> Tensor:
    """Solve A x = b for an A that ought to be symmetric, and is nearly; return weights of x.

    Of the orthonormal v_1 to v_k that A is asked for, x = sum_j w_j v_j, so that what a linear map
    made of them on the way gives its image of x, too. The Galerkin condition is that of CG, on the
    symmetric part of H = V^T A V; its eigenvalues l are inverted as l / (l^2 + e^2), e the norm of
    what the rest of H makes of their eigenvector, which is how far off they may be, and as zero
    where they are not above ``least``. For a symmetric A it is CG's x; else CG has no such brake.

    Arguments:
        A, b: As for ``cg``.
        iterations: k, the products with A.
        least: What no eigenvalue of A lies below.
        tolerance: A row's space ends where a product adds so little to it.

    Returns:
        w, of shape ``(k, B)``.
    """
    size = dot(b, b).sqrt()
    basis = [b / size.clamp_min(torch.finfo(b.dtype).tiny)]
    H = b.new_zeros(len(b), iterations + 1, iterations)
    for j in range(iterations):
        w = A(basis[j])
        scale = dot(w, w).sqrt()
        for i, v in 2 * list(enumerate(basis)):  # twice is enough, once is not in float32
            H[:, i, j] += (h := dot(v, w)).flatten()
            w = w - h * v
        rest = dot(w, w).sqrt()
        going = rest > tolerance * scale  # else the space is exhausted, and the answer exact
        H[:, j + 1, j] = torch.where(going, rest, 0).flatten()
        basis.append(torch.where(going, w / torch.where(going, rest, 1), 0))
    H = H[:, :-1]
    values, Q = torch.linalg.eigh((H + H.mT) / 2)
    error = torch.linalg.vector_norm((H - H.mT) / 2 @ Q, dim=1)
    low = (tolerance * values[:, -1:]).clamp_min(least)
    inverse = torch.where(values > low, values / (values**2 + error**2), 0)
    weights: Tensor = size.reshape(-1, 1) * (Q @ (inverse * Q[:, 0])[..., None])[..., 0]
    return weights.T
