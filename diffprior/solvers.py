"""Linear solvers: one system per row of a batch, of any shape, each stopping on its own.

A row that has converged is frozen rather than left out, so that a row's answer does not depend on
its neighbours; whether all have is read back from the device at every eighth product only.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["cg", "dot", "gmres"]

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


def gmres(
    A: Callable[[Tensor], Tensor], b: Tensor, iterations: int = 5, tolerance: float = 1e-6
) -> Tensor:
    """Solve A x = b for any square A, from x = 0: the x of the Krylov space of least residual.

    "GMRES" (Saad and Schultz, 1986), https://doi.org/10.1137/0907058. Arguments as for ``cg``.
    """
    size = dot(b, b).sqrt()
    basis = [b / size.clamp_min(torch.finfo(b.dtype).tiny)]
    columns = []
    for j in range(iterations):
        w = A(basis[j])
        scale = dot(w, w).sqrt()
        h = []
        for q in basis:
            h.append(dot(q, w))
            w = w - h[-1] * q
        rest = dot(w, w).sqrt()
        going = rest > tolerance * scale  # else the space is exhausted, and the answer exact
        basis.append(torch.where(going, w / torch.where(going, rest, 1), 0))
        h += [torch.where(going, rest, 0), *[torch.zeros_like(rest)] * (iterations - j - 1)]
        columns.append(torch.cat([v.reshape(-1, 1) for v in h], 1))
    H = torch.stack(columns, 2)  # (B, iterations + 1, iterations)
    weights = torch.linalg.pinv(H, rtol=tolerance)[:, :, :1] * size.reshape(-1, 1, 1)
    krylov = torch.stack([q.flatten(1) for q in basis[:-1]], 2)
    x: Tensor = (krylov @ weights).reshape(b.shape)
    return x
