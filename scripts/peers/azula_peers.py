"""The samplers of azula with our priors, operators and measurements.

The wrappers are thin: x_t is scaled, and x and y are flattened, because the solvers of azula take
products over the last axis. A chain starts at the largest noise level of the prior.
"""

import math
from collections.abc import Callable
from typing import Any

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
from scene import Run, Scene
from torch import Tensor

from diffprior.priors.base import Prior

__all__ = ["PEERS", "AzulaDenoiser", "diffpir", "mmps"]


class AzulaDenoiser(Denoiser):  # type: ignore[misc]
    """E[x_0 | x_t] of flattened images, by a prior.

    Arguments:
        prior: Prior to wrap.
    """

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        low, high = (float(prior.diffusion.schedule.ratio(torch.tensor(t))) for t in (0.0, 1.0))
        self.prior = prior
        self.schedule = VPSchedule(alpha_min=(1 + high**2) ** -0.5, sigma_min=low)

    def forward(self, x_t: Tensor, t: Tensor, **unused: Any) -> Any:
        """Return the posterior mean, as azula has it."""
        alpha_t, sigma_t = self.schedule(t)
        u = self.prior.diffusion.schedule.time(sigma_t / alpha_t)
        scale = self.prior.diffusion.schedule(u)[0] / alpha_t
        x = (scale * x_t).reshape(-1, *self.prior.shape)
        return DiracPosterior(mean=self.prior(x, u).flatten(1))


def azula(create: Callable[..., Any], alone: bool = False, passes: int = 1) -> Run:
    """Return the run of a sampler.

    Arguments:
        create: Returns the sampler for a denoiser, a scene and the settings of the chain.
        alone: Whether images run one by one.
        passes: Network calls of each step.
    """

    def run(scene: Scene, calls: int) -> Tensor:
        if alone and len(scene.y) > 1:
            indices = range(len(scene.y))
            parts = (scene.likelihood.select(torch.tensor([i])) for i in indices)
            return torch.cat([run(scene._replace(likelihood=part), calls) for part in parts])
        denoiser = AzulaDenoiser(scene.prior)
        sampler = create(denoiser, scene, steps=calls // passes, silent=True)
        x_T = sampler.init((len(scene.y), math.prod(scene.prior.shape)))
        x: Tensor = sampler(x_T)
        return x.reshape(-1, *scene.prior.shape)

    return run


def conditioned(guide: Callable[[Any, Scene], Any], eta: float) -> Run:
    """Return the run of DDIM with a guided denoiser."""
    return azula(lambda d, s, **chain: DDIMSampler(guide(d, s), eta=eta, **chain))


def dps(zeta: float) -> Run:
    """Return the run of DPS."""
    return azula(lambda d, s, **chain: DPSSampler(d, s.y, s.A, zeta=zeta, **chain), alone=True)


def pgdm(eta: float) -> Run:
    """Return the run of PiGDM."""
    return azula(lambda d, s, **chain: PGDMSampler(d, s.y, s.A, s.pinv, eta=eta, **chain))


def diffpir(lmbda: float, eta: float, iterations: int) -> Run:
    """Return the run of DiffPIR."""
    return conditioned(
        lambda d, s: DiffPIRDenoiser(d, s.y, s.A, s.var, lmbda, iterations=iterations), eta
    )


def mmps(iterations: int, eta: float) -> Run:
    """Return the run of MMPS."""

    def guide(denoiser: Any, scene: Scene) -> Any:
        cov = IsotropicCovariance(torch.tensor(scene.var))
        return MMPSDenoiser(denoiser, scene.y, scene.A, cov, iterations=iterations)

    return conditioned(guide, eta)


def tmpd(eta: float) -> Run:
    """Return the run of TMPD."""
    return conditioned(lambda d, s: TMPDenoiser(d, s.y, s.A, s.var), eta)


def repaint(iterations: int, eta: float) -> Run:
    """Return the run of RePaint."""

    def create(denoiser: Any, scene: Scene, **chain: Any) -> Any:
        measured = scene.likelihood.operator.s.expand(scene.prior.shape).flatten() > 0
        settings = {"iterations": iterations, "eta": eta, **chain}
        return RePaintSampler(denoiser, scene.y, measured, **settings)

    return azula(create, passes=iterations)


PEERS: dict[str, dict[str, Run]] = {
    "DPS": {"azula, zeta 1": dps(1.0)},
    "DiffPIR": {
        "azula, lambda 10, eta 0": diffpir(10, 0, 1),
        "azula, lambda 10, eta 1": diffpir(10, 1, 1),
        "azula, lambda 1, eta 1, 5 iterations": diffpir(1, 1, 5),
    },
    "PiGDM": {f"azula, eta {eta}": pgdm(eta) for eta in (0, 1)},
    "TMPD": {f"azula, eta {eta}": tmpd(eta) for eta in (0, 1)},
    "MMPS, 1": {f"azula, eta {eta}": mmps(1, eta) for eta in (0, 1)},
    "MMPS, 5": {f"azula, eta {eta}": mmps(5, eta) for eta in (0, 1)},
    "RePaint": {f"azula, eta {eta}": repaint(3, eta) for eta in (0, 1)},
}
