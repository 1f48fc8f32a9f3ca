"""The data step that split samplers share: one draw a row from N(x_0, var I) p(y | x)."""

from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from ..operators.base import LinearOperator
from ..random import Noise
from ..solvers import dot
from .base import Likelihood
from .gaussian import GaussianLikelihood

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
    """Draw x ~ N(x_0, var I) p(y | x), up to a constant, one a row.

    Arguments:
        inner: ``exact`` for Gaussian noise behind a linear A; ``langevin`` and ``hmc`` are chains
            from x_0, for any likelihood with a score; None is exact where that can be, Langevin
            elsewhere.
        iterations: Scores that a chain may ask for.
    """
    A = likelihood.operator
    linear = isinstance(likelihood, GaussianLikelihood) and isinstance(A, LinearOperator)
    inner = inner or ("exact" if linear else "langevin")
    if inner == "exact":
        if not linear:
            raise TypeError(
                "an exact data step needs Gaussian noise and a LinearOperator, "
                f"got {type(likelihood).__name__} and {type(A).__name__}"
            )
        return exact(cast(GaussianLikelihood[LinearOperator], likelihood), x_0, var, noise)
    if inner not in LEAPS:
        raise ValueError(f"no data step {inner!r}; there are exact, langevin and hmc")
    return hamiltonian(likelihood, x_0, var, noise, LEAPS[inner], iterations)


def exact(
    likelihood: GaussianLikelihood[LinearOperator], x_0: Tensor, var: Tensor, noise: Noise
) -> Tensor:
    """Draw from N(x_0, var I) N(y; A x, sigma^2): perturb both means, then take the mode.

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

    A move is ``leaps`` leapfrog steps of Hamiltonian dynamics; one of them is Langevin (MALA). The
    step is each row's own: it begins at the scale of var, and for the first half of the moves it
    is halved by a refusal and grows by a fifth with an acceptance; then it is fixed. Each move
    takes 1/2 to 1 of it at random, lest orbits close. A move that diverges is refused.
    "MCMC using Hamiltonian dynamics" (Neal, 2011), https://arxiv.org/abs/1206.1901.
    """

    def force(x: Tensor) -> Tensor:
        return likelihood.score(x) - (x - x_0) / var

    def energy(x: Tensor) -> Tensor:
        log_r = likelihood.log_prob(x).reshape(-1, *(1,) * (x.ndim - 1))
        return dot(x - x_0, x - x_0) / (2 * var) - log_r

    x, f, U = x_0, force(x_0), energy(x_0)
    most = 1.5 / leaps * var.sqrt()
    step, moves = torch.ones_like(U) * most, max(iterations // leaps, 1)
    for i in range(moves):
        p, h = noise.normal(x), step * (1 + noise.uniform(step)) / 2
        x_new, f_new, p_new = x, f, p + h / 2 * f
        for _ in range(leaps):
            x_new = x_new + h * p_new
            f_new = force(x_new)
            p_new = p_new + h * f_new
        p_new, U_new = p_new - h / 2 * f_new, energy(x_new)
        drop = U - U_new + (dot(p, p) - dot(p_new, p_new)) / 2
        good = noise.uniform(step).log() < drop
        x, f, U = (torch.where(good, a, b) for a, b in ((x_new, x), (f_new, f), (U_new, U)))
        if i < moves // 2:
            step = torch.minimum(torch.where(good, 1.2 * step, step / 2), most)
    return x
