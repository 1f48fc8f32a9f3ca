"""The reconstructors of deepinv with our priors, operators and measurements.

The wrappers are thin: images and measurements are scaled to [0, 1]. A chain starts at the largest
noise level of the prior.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from deepinv import sampling
from deepinv.optim import L2
from deepinv.physics import DecomposablePhysics, GaussianNoise
from scene import Run, Scene
from torch import Tensor

from diffprior.interop.deepinv import DeepinvDenoiser

__all__ = ["PEERS", "DeepinvDenoiser"]


def deepinv(create: Callable[[DeepinvDenoiser, int], Any]) -> Run:
    """Return the run of a reconstructor.

    Arguments:
        create: Returns the reconstructor for a denoiser and a number of network calls.
    """

    def run(scene: Scene, calls: int) -> Tensor:
        A = scene.likelihood.operator
        one = torch.ones(1, *scene.prior.shape)
        physics = DecomposablePhysics(
            U=A.from_left,
            U_adjoint=A.to_left,
            V=A.from_spectrum,
            V_adjoint=A.to_spectrum,
            mask=A.s.expand(A.to_spectrum(one).shape).clone(),
            noise_model=GaussianNoise(scene.likelihood.sigma / 2),
        )
        y = (scene.likelihood.y + A(one)) / 2
        x: Tensor = create(DeepinvDenoiser(scene.prior), calls)(y, physics)
        return 2 * x.float() - 1

    return run


def posterior(term: Callable[[], Any], solver: Any) -> Run:
    """Return the run of a data term in the variance-preserving reverse SDE."""

    def create(denoiser: DeepinvDenoiser, calls: int) -> Any:
        high = float(denoiser.prior.diffusion.schedule.ratio(torch.tensor(1.0)))
        start = (-0.1 + math.sqrt(0.01 + 39.8 * math.log1p(high**2))) / 19.9  # sigma_t = high
        times = torch.linspace(start, 0, calls + 1, dtype=torch.float64)
        sde = sampling.VariancePreservingDiffusion(alpha=1.0)
        return sampling.PosteriorDiffusion(term(), denoiser, sde, solver(timesteps=times))

    return deepinv(create)


def both_solvers(term: Callable[[], Any]) -> dict[str, Run]:
    """Return the runs of a data term with the two solvers that deepinv recommends for few steps."""
    return {
        "deepinv, ddpm": posterior(term, sampling.DDPMSolver),
        "deepinv, ddim": posterior(term, sampling.DDIMSolver),
    }


def ddrm() -> Run:
    """Return the run of DDRM."""
    return deepinv(lambda d, calls: sampling.DDRM(d, np.linspace(1, 0, calls)))


def diffpir(lambda_: float, zeta: float) -> Run:
    """Return the run of DiffPIR."""

    def create(denoiser: DeepinvDenoiser, calls: int) -> Any:
        return sampling.DiffPIR(denoiser, L2(), max_iter=calls, zeta=zeta, lambda_=lambda_)

    return deepinv(create)


def dps_term() -> Any:
    """Return the data term of DPS, images clipped to [-1, 1]."""
    return sampling.DPSDataFidelity(clip=[-1.0, 1.0])


PEERS: dict[str, dict[str, Run]] = {
    "DPS": {"deepinv, weight 1": posterior(dps_term, sampling.DDPMSolver)},
    "DiffPIR": {
        "deepinv, lambda 7, zeta 0.1": diffpir(7.0, 0.1),
        "deepinv, lambda 1, zeta 1": diffpir(1.0, 1.0),
    },
    "PiGDM": both_solvers(sampling.PiGDMDataFidelity),
    "MMPS, 3": both_solvers(sampling.MomentMatchingDataFidelity),
    "DDRM": {"deepinv": ddrm()},
    "ALD": both_solvers(sampling.ALDDataFidelity),
    "Score-SDE": both_solvers(sampling.ScoreSDEDataFidelity),
    "ILVR": both_solvers(sampling.ILVRDataFidelity),
}
