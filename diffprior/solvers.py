"""Linear solvers for batches: one system a row, of any shape, and each row stops on its own.

A row that has converged is frozen and stays in the batch, so that its answer does not depend on
the other rows. Whether all rows have converged is read back from the device at every eighth
product only, as that is slow.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from .bands import bands, in_bands, is_large, put_down
from .phases import part_done

__all__ = ["cg", "dot", "galerkin", "per_row", "row_sums", "wide_dtype"]

NEAR = 256  # machine epsilons; a relative residual below it is near the rounding floor
RISE = 16  # times the least squared residual: CG does not lower the residual at every step


def wide_dtype(like: Tensor) -> torch.dtype:
    """Return float64 where the device of a tensor has it, and else the dtype of the tensor."""
    return torch.float64 if _has_float64(like.device) else like.dtype


@lru_cache
def _has_float64(device: torch.device) -> bool:
    if device.type == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return device.type != "mps"


def per_row(values: Tensor, x: Tensor) -> Tensor:
    """Return one value a row, ``(B,)``, as ``(B, 1, ..., 1)``, which broadcasts to the batch x."""
    return values.reshape(-1, *(1,) * (x.ndim - 1))


def dot(u: Tensor, v: Tensor) -> Tensor:
    """Return the inner product of each pair of rows, of shape ``(B, 1, ..., 1)``.

    The sum is in float64 where the device has it: in float32 its order, and so its last bits,
    would depend on the size of the batch.
    """
    wide = wide_dtype(u)
    if is_large(u):
        parts = [(u[..., r, :] * v[..., r, :]).flatten(1).sum(1, dtype=wide) for r in bands(u)]
        return per_row(torch.stack(parts).sum(0).to(u.dtype), u)
    return per_row((u * v).flatten(1).sum(1, dtype=wide).to(u.dtype), u)


def row_sums(x: Tensor) -> Tensor:
    """Return the sum of each row of a batch, of shape ``(B,)``, in float64 where the device has it.

    Each row is summed by itself, so that its last bits do not depend on the other rows.
    """
    return torch.stack([row.sum(dtype=wide_dtype(x)) for row in x])


def cg(
    A: Callable[[Tensor], Tensor], b: Tensor, iterations: int = 50, tolerance: float = 1e-6
) -> Tensor:
    """Solve A x = b for a symmetric positive semi-definite A, from x = 0.

    Near the rounding floor the search directions lie where A is zero up to rounding, and steps
    along them blow up. A row whose residual rises there stops, and returns its iterate with the
    least residual.

    Arguments:
        A: The map of a batch of rows to a batch of rows.
        b: Right-hand sides, of shape ``(B, *)``.
        iterations: The most products with A.
        tolerance: A row stops when its residual is this much smaller than its right-hand side.
    """
    x = torch.zeros_like(b)
    large = is_large(b)
    r, p = (b.clone(), b.clone()) if large else (b, b)  # large ones change in their place
    eps = torch.finfo(b.dtype).eps
    del b
    rr = dot(r, r)
    enough = tolerance**2 * rr
    floor = (NEAR * eps) ** 2 * rr
    best, least = x, rr
    going = rr > enough
    lost = rr < 0
    for i in range(iterations):
        if large:
            part_done("solving", i, iterations)
        if i % 8 == 7 and not going.any():
            break
        Ap = A(p)
        curvature = dot(p, Ap)
        going = going & (curvature > 0)
        step = torch.where(going, rr / torch.where(going, curvature, 1), 0)
        x = in_bands(lambda x, p, step: x + step * p, x, p, step, into=x)
        r = in_bands(lambda r, Ap, step: r - step * Ap, r, Ap, step, into=r)
        del Ap
        rr, old = dot(r, r), rr
        turn = torch.where(going, rr / torch.where(going, old, 1), 0)
        p = in_bands(lambda r, p, turn: r + turn * p, r, p, turn, into=p)
        best = _better(x, best, rr < least, rr < floor)
        least = torch.fmin(rr, least)
        lost = (least < floor) & ~(rr <= RISE * least)
        going = going & (rr > enough) & ~lost
    if large:
        part_done("solving", iterations, iterations)
    return x if best is x else torch.where(lost, best, x)


def _better(x: Tensor, best: Tensor, is_less: Tensor, is_low: Tensor) -> Tensor:
    """Return the best iterates by now, where they may be asked for.

    Large ones are kept near the rounding floor alone: elsewhere none is lost.

    Arguments:
        is_less: Whether the residual of a row is the least by now.
        is_low: Whether it is near the floor.
    """
    if not is_large(x):
        return torch.where(is_less, x, best)
    if x.device.type == "cpu" and not (is_less & is_low).any():
        return best
    kept = x.clone() if best is x else best

    def better(x: Tensor, kept: Tensor) -> Tensor:
        return torch.where(is_less, x, kept)

    return in_bands(better, x, kept, into=kept)


def galerkin(
    A: Callable[[Tensor], Tensor],
    b: Tensor,
    iterations: int = 5,
    least: float = 0.0,
    tolerance: float = 1e-6,
) -> Tensor:
    """Solve A x = b for an A that is symmetric up to an error; return the weights of x.

    A is applied to orthonormal v_1, ..., v_k, and x = sum_j w_j v_j. A caller that keeps the image
    of each v_j under a linear map so has the image of x, too. The Galerkin condition is that of
    CG, on the symmetric part of H = V^T A V. An eigenvalue l of it is inverted as l / (l^2 + e^2),
    where e, the norm of the antisymmetric part of H times the eigenvector, bounds the error of l;
    the inverse is zero where l is not above ``least``. For a symmetric A, x is that of CG; for
    another A, CG may blow up, and this does not.

    Arguments:
        A, b: As for ``cg``.
        iterations: k, the products with A.
        least: A lower bound of the eigenvalues of A.
        tolerance: A row's space ends where a product adds less than this share to it.

    Returns:
        w, of shape ``(k, B)``.
    """

    def unit(w: Tensor, rest: Tensor, going: Tensor) -> Tensor:
        return torch.where(going, w / rest, 0)

    size = dot(b, b).sqrt()
    H = b.new_zeros(len(b), iterations + 1, iterations)
    basis = [put_down(in_bands(torch.div, b, size.clamp_min(torch.finfo(b.dtype).tiny)))]
    del b
    for j in range(iterations):
        w = A(basis[j])
        scale = dot(w, w).sqrt()
        for _ in range(2):  # Gram-Schmidt twice is enough; once is not, in float32
            for i, v in enumerate(basis):
                h = dot(v, w)
                H[:, i, j] += h.flatten()
                w = in_bands(lambda w, v, h: w - h * v, w, v, h)
        rest = dot(w, w).sqrt()
        going = rest > tolerance * scale  # else the space is exhausted, and the answer exact
        H[:, j + 1, j] = torch.where(going, rest, 0).flatten()
        if j + 1 < iterations:
            w = in_bands(unit, w, torch.where(going, rest, 1), going)
            basis.append(put_down(w))
    H = H[:, :-1]
    values, Q = torch.linalg.eigh((H + H.mT) / 2)
    error = torch.linalg.vector_norm((H - H.mT) / 2 @ Q, dim=1)
    low = (tolerance * values[:, -1:]).clamp_min(least)
    inverse = torch.where(values > low, values / (values**2 + error**2), 0)
    weights: Tensor = size.reshape(-1, 1) * (Q @ (inverse * Q[:, 0])[..., None])[..., 0]
    return weights.T
