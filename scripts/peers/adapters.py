"""The samplers of azula and deepinv round our priors, our operators and our measurements.

Through the thinnest wrappers there are: x_t and y are only scaled, and flattened for azula, whose
solvers take products over the last axis. A chain begins where the noise of the prior ends.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.guidance.diffpir import DiffPIRDenoiser
from azula.guidance.dps import DPSSampler
from azula.guidance.mmps import MMPSDenoiser
from azula.guidance.pgdm import PGDMSampler
from azula.guidance.repaint import RePaintSampler
from azula.guidance.tmpd import TMPDenoiser
from azula.linalg.covariance import IsotropicCovariance
from azula.noise import VPSchedule
from azula.sample import DDIMSampler
from deepinv import sampling as deep
from deepinv.optim import L2
from deepinv.physics import DecomposablePhysics, GaussianNoise
from torch import Tensor

from diffprior.diffusions import GaussianDiffusion
from diffprior.interop.deepinv import DeepinvDenoiser
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.priors.base import Prior, Wrapper
from diffprior.priors.counted import CountedPrior
from diffprior.schedules import Schedule


class Recall(Schedule):
    """A schedule that remembers the times of noise levels: to look them up is no peer's work."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.known = schedule, dict[tuple[float, ...], Tensor]()

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.schedule(t)

    def time(self, ratio: Tensor | float) -> Tensor:
        ratio = torch.as_tensor(ratio)
        key = tuple(ratio.flatten().tolist())
        if key not in self.known:
            self.known[key] = self.schedule.time(ratio)
        return self.known[key].reshape(ratio.shape)


class Recalled(Wrapper):
    """The same prior, its schedule one that remembers."""

    def __init__(self, inner: Prior, diffusion: GaussianDiffusion | None = None) -> None:
        super().__init__(inner)
        self.diffusion = diffusion or GaussianDiffusion(Recall(inner.diffusion.schedule))

    def with_inner(self, inner: Prior) -> "Recalled":
        return Recalled(inner, self.diffusion)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.inner(x_t, t)


class AzulaDenoiser(Denoiser):
    """E[x_0 | x_t] of flattened images: azula's solvers take products over the last axis."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        low, high = (float(prior.diffusion.schedule.ratio(torch.tensor(t))) for t in (0.0, 1.0))
        self.prior = prior
        self.schedule = VPSchedule(alpha_min=(1 + high**2) ** -0.5, sigma_min=low)

    def forward(self, x_t: Tensor, t: Tensor, **unused: Any) -> DiracPosterior:
        alpha_t, sigma_t = self.schedule(t)
        u = self.prior.diffusion.schedule.time(sigma_t / alpha_t)
        scale = self.prior.diffusion.schedule(u)[0] / alpha_t
        x = (scale * x_t).reshape(-1, *self.prior.shape)
        return DiracPosterior(mean=self.prior(x, u).flatten(1))


class Scene(NamedTuple):
    """A likelihood of a batch, and the prior of its images."""

    prior: CountedPrior
    likelihood: GaussianLikelihood[Any]
    seed: int = 0

    @property
    def y(self) -> Tensor:
        return self.likelihood.y.flatten(1)

    @property
    def var(self) -> float:
        return self.likelihood.sigma**2

    def A(self, x: Tensor) -> Tensor:
        return self.likelihood.operator(x.reshape(-1, *self.prior.shape)).flatten(1)

    def pinv(self, y: Tensor) -> Tensor:
        return self.likelihood.operator.pinv(y.reshape(-1, *self.likelihood.y.shape[1:])).flatten(1)


Run = Callable[[Scene, int], Tensor]


def azula(make: Callable[..., Any], alone: bool = False, passes: int = 1) -> Run:
    """Return the run of a sampler of azula, ``passes`` network calls a step."""

    def run(s: Scene, calls: int) -> Tensor:
        if alone and len(s.y) > 1:
            each = (s.likelihood.select(torch.tensor([i])) for i in range(len(s.y)))
            return torch.cat([run(s._replace(likelihood=one), calls) for one in each])
        sampler = make(AzulaDenoiser(s.prior), s, steps=calls // passes, silent=True)
        x_T = sampler.init((len(s.y), math.prod(s.prior.shape)))
        return sampler(x_T).reshape(-1, *s.prior.shape)

    return run


def conditioned(guide: Callable[[Denoiser, Scene], Denoiser], eta: float) -> Run:
    return azula(lambda d, s, **chain: DDIMSampler(guide(d, s), eta=eta, **chain))


def dps(zeta: float) -> Run:
    return azula(lambda d, s, **chain: DPSSampler(d, s.y, s.A, zeta=zeta, **chain), alone=True)


def pgdm(eta: float) -> Run:
    return azula(lambda d, s, **chain: PGDMSampler(d, s.y, s.A, s.pinv, eta=eta, **chain))


def diffpir(lmbda: float, eta: float, iterations: int) -> Run:
    return conditioned(
        lambda d, s: DiffPIRDenoiser(d, s.y, s.A, s.var, lmbda, iterations=iterations), eta
    )


def mmps(iterations: int, eta: float) -> Run:
    def guide(d: Denoiser, s: Scene) -> MMPSDenoiser:
        cov = IsotropicCovariance(torch.tensor(s.var))
        return MMPSDenoiser(d, s.y, s.A, cov, iterations=iterations)

    return conditioned(guide, eta)


def tmpd(eta: float) -> Run:
    return conditioned(lambda d, s: TMPDenoiser(d, s.y, s.A, s.var), eta)


def repaint(iterations: int, eta: float) -> Run:
    def make(d: Denoiser, s: Scene, **chain: Any) -> RePaintSampler:
        seen = s.likelihood.operator.s.expand(s.prior.shape).flatten() > 0
        return RePaintSampler(d, s.y, seen, iterations=iterations, eta=eta, **chain)

    return azula(make, passes=iterations)


def deepinv(make: Callable[[DeepinvDenoiser, int], Any]) -> Run:
    """Return the run of a reconstructor of deepinv, on images and measurements in [0, 1]."""

    def run(s: Scene, calls: int) -> Tensor:
        A, one = s.likelihood.operator, torch.ones(1, *s.prior.shape)
        physics = DecomposablePhysics(
            U=A.from_left,
            U_adjoint=A.to_left,
            V=A.from_spectrum,
            V_adjoint=A.to_spectrum,
            mask=A.s.expand(A.to_spectrum(one).shape).clone(),
            noise_model=GaussianNoise(s.likelihood.sigma / 2),
        )
        x = make(DeepinvDenoiser(s.prior), calls)((s.likelihood.y + A(one)) / 2, physics)
        return 2 * x.float() - 1

    return run


def posterior(term: Callable[[], Any], solver: Any) -> Run:
    """Return the run of a data term in the variance-preserving reverse SDE."""

    def make(d: DeepinvDenoiser, calls: int) -> Any:
        high = float(d.prior.diffusion.schedule.ratio(torch.tensor(1.0)))
        first = (-0.1 + math.sqrt(0.01 + 39.8 * math.log1p(high**2))) / 19.9  # sigma_t = high
        times = torch.linspace(first, 0, calls + 1, dtype=torch.float64)
        sde = deep.VariancePreservingDiffusion(alpha=1.0)
        return deep.PosteriorDiffusion(term(), d, sde, solver(timesteps=times))

    return deepinv(make)


def solved(term: Callable[[], Any]) -> dict[str, Run]:
    """Return a data term with both solvers that deepinv advises where steps are few."""
    return {
        "deepinv, ddpm": posterior(term, deep.DDPMSolver),
        "deepinv, ddim": posterior(term, deep.DDIMSolver),
    }


def ddrm() -> Run:
    return deepinv(lambda d, calls: deep.DDRM(d, np.linspace(1, 0, calls)))


def splitting(lambda_: float, zeta: float) -> Run:
    def make(d: DeepinvDenoiser, calls: int) -> Any:
        return deep.DiffPIR(d, L2(), max_iter=calls, zeta=zeta, lambda_=lambda_)

    return deepinv(make)


PEERS: dict[str, dict[str, Run]] = {
    "DPS": {
        "azula, zeta 1": dps(1.0),
        "deepinv, weight 1": posterior(
            lambda: deep.DPSDataFidelity(clip=[-1.0, 1.0]), deep.DDPMSolver
        ),
    },
    "DiffPIR": {
        "azula, lambda 10, eta 0": diffpir(10, 0, 1),
        "azula, lambda 10, eta 1": diffpir(10, 1, 1),
        "azula, lambda 1, eta 1, 5 iterations": diffpir(1, 1, 5),
        "deepinv, lambda 7, zeta 0.1": splitting(7.0, 0.1),
        "deepinv, lambda 1, zeta 1": splitting(1.0, 1.0),
    },
    "PiGDM": {f"azula, eta {e}": pgdm(e) for e in (0, 1)} | solved(deep.PiGDMDataFidelity),
    "TMPD": {f"azula, eta {e}": tmpd(e) for e in (0, 1)},
    "MMPS, 1": {f"azula, eta {e}": mmps(1, e) for e in (0, 1)},
    "MMPS, 3": solved(deep.MomentMatchingDataFidelity),
    "MMPS, 5": {f"azula, eta {e}": mmps(5, e) for e in (0, 1)},
    "RePaint": {f"azula, eta {e}": repaint(3, e) for e in (0, 1)},
    "DDRM": {"deepinv": ddrm()},
    "ALD": solved(deep.ALDDataFidelity),
    "Score-SDE": solved(deep.ScoreSDEDataFidelity),
    "ILVR": solved(deep.ILVRDataFidelity),
}
