"""The data step of split samplers: one draw a row from N(x_0, var I) p(y | x)."""

from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from ..operators.base import LinearOperator
from ..random import Noise
from ..solvers import dot, per_row
from .base import ConditionableLikelihood, Likelihood

__all__ = ["Inner", "draw", "exact", "hamiltonian"]

Inner = Literal["exact", "langevin", "hmc"]
LEAPS = {"langevin": 1, "hmc": 10}


def draw(
    likelihood: Likelihood[Any],
    x_0: Tensor,
    var: Tensor,
    noise: Noise,
    inner: Inner | None = None,
    iterations: int = 100,
) -> Tensor:
    """Draw one x for each row from the density that N(x_0, var I) p(y | x) is up to a constant.

    Arguments:
        inner: ``exact`` for Gaussian noise and a linear A; ``langevin`` and ``hmc`` are chains
            from x_0, for any likelihood with a score. None is ``exact`` where that is possible,
            ``langevin`` elsewhere.
        iterations: The most scores that a chain computes.
    """
    A = likelihood.operator
    linear = isinstance(likelihood, ConditionableLikelihood) and isinstance(A, LinearOperator)
    inner = inner or ("exact" if linear else "langevin")
    if inner == "exact":
        if not linear:
            raise TypeError(
                "an exact data step needs Gaussian noise and a LinearOperator, "
                f"got {type(likelihood).__name__} and {type(A).__name__}"
            )
        return exact(cast(ConditionableLikelihood[LinearOperator], likelihood), x_0, var, noise)
    if inner not in LEAPS:
        raise ValueError(f"no data step {inner!r}; there are exact, langevin and hmc")
    return hamiltonian(likelihood, x_0, var, noise, LEAPS[inner], iterations)


def exact(
    likelihood: ConditionableLikelihood[LinearOperator], x_0: Tensor, var: Tensor, noise: Noise
) -> Tensor:
    """Draw from N(x_0, var I) N(y; A x, sigma^2): perturb both means, then take the mode.

    Of noise that is not Gaussian it takes the conditional mean of a perturbed x_0: heuristic.

    "Gaussian sampling by local perturbations" (Papandreou and Yuille, 2010).
    """
    y = likelihood.y + likelihood.sigma * noise.normal(likelihood.y)
    return replace(likelihood, y=y).condition(x_0 + var.sqrt() * noise.normal(x_0), var)


def hamiltonian(
    likelihood: Likelihood[Any],
    x_0: Tensor,
    var: Tensor,
    noise: Noise,
    leaps: int,
    iterations: int,
) -> Tensor:
    """Run a Metropolis-adjusted chain towards N(x_0, var I) p(y | x) from x_0.

    A move is ``leaps`` leapfrog steps of Hamiltonian dynamics; with one leap it is Langevin (MALA).
    Each row has its own step size. It starts at the scale of var; during the first half of the
    moves a rejection halves it and an acceptance lets it grow by a fifth; then it is fixed. Each
    move uses a random share of it, 1/2 to 1, so that orbits do not close. A move that diverges is
    rejected.
    "MCMC using Hamiltonian dynamics" (Neal, 2011), https://arxiv.org/abs/1206.1901.
    """

    def force(x: Tensor) -> Tensor:
        return likelihood.score(x) - (x - x_0) / var

    def energy(x: Tensor) -> Tensor:
        log_r = per_row(likelihood.log_prob(x), x)
        return dot(x - x_0, x - x_0) / (2 * var) - log_r

    x = x_0
    f, U = force(x), energy(x)
    most = 1.5 / leaps * var.sqrt()
    step = torch.ones_like(U) * most
    moves = max(iterations // leaps, 1)
    for i in range(moves):
        p = noise.normal(x)
        h = step * (1 + noise.uniform(step)) / 2
        x_new, f_new = x, f
        p_new = p + h / 2 * f
        for _ in range(leaps):
            x_new = x_new + h * p_new
            f_new = force(x_new)
            p_new = p_new + h * f_new
        p_new = p_new - h / 2 * f_new
        U_new = energy(x_new)
        drop = U - U_new + (dot(p, p) - dot(p_new, p_new)) / 2
        accepted = noise.uniform(step).log() < drop
        x, f, U = (torch.where(accepted, a, b) for a, b in ((x_new, x), (f_new, f), (U_new, U)))
        if i < moves // 2:
            step = torch.minimum(torch.where(accepted, 1.2 * step, step / 2), most)
    return x
