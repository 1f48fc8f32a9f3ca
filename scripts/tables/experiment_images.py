"""Small networks of small images for the experiments, their bits and their draws."""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffprior.architectures.base import Demand
from diffprior.catalog import build
from diffprior.diffusions import GaussianDiffusion
from diffprior.kernels import GaussianKernel
from diffprior.networks.nafunet import NAFUNet
from diffprior.networks.parameterizations import Mean
from diffprior.objectives.base import Batch, Denoiser, Objective, Steps, column
from diffprior.objectives.vlb import VLB, wide
from diffprior.priors.network import NetworkPrior
from diffprior.training.labelled import ClassedImages
from diffprior.training.trainer import Trainer, TrainingConfig

CHANNELS, BLOCKS, BATCH = (32, 64), (2, 2), 32
Data = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network that was trained.

    Attributes:
        objective: What it was trained by.
        prior: The prior of the moving average of its weights.
        minutes: How long it trained.
    """

    objective: Objective
    prior: NetworkPrior
    minutes: float

    @property
    def denoiser(self) -> Denoiser:
        """The network, for rows that each have a time of their own."""
        prior = self.prior
        return Denoiser(network=prior.network, parameterization=prior.parameterization)


def train(images: ClassedImages, objective: str, steps: int, seed: int) -> Trained:
    """Return a network of 0.2 million numbers, trained on images without their classes."""
    torch.manual_seed(seed)
    side = images.pixels.shape[-1]
    config = TrainingConfig(
        objective=objective, batch=BATCH, patch=side, late_patch=side, drop=1.0, seed=seed
    )
    task: Any = build(objective, ("objectives",))
    deviation = round(float((images.pixels[::50].float() / 127.5 - 1).std()), 2)
    own = task.parameterization(deviation)
    demand = Demand(
        shape=(1, side, side),
        sigma_data=deviation,
        classes=images.classes,
        numbers=task.numbers,
        parameterization=own,
    )
    ends: dict[str, Any]
    if isinstance(task, Steps):
        ends = {"time_scale": demand.scale(2.0)}
    else:
        ends = {"sigma_min": task.sigma_min, "sigma_max": task.sigma_max}
    network = NAFUNet(
        CHANNELS,
        BLOCKS,
        1,
        sigma_data=deviation,
        classes=images.classes,
        size=side,
        numbers=task.numbers,
        **ends,
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(network, images, config, Path(folder))
        for i in range(steps):
            trainer.train_step(i / steps)
        prior = trainer.prior(trainer.averaged())
    return Trained(objective=task, prior=prior, minutes=(time.perf_counter() - start) / 60)


def as_states(x: Data) -> Tensor:
    """Return images of uint8, ``(N, H, W)``, as states ``(N, 1, H, W)`` in [-1, 1]."""
    return torch.from_numpy(x)[:, None].float() / 127.5 - 1


def bound_of(objective: Steps) -> VLB:
    """Return the bound of a network that was trained by an objective of the same steps."""
    if isinstance(objective, VLB):
        return objective
    mu = isinstance(objective.parameterization(1.0), Mean)
    return VLB(steps=objective.steps, betas=objective.betas, predicts="mu" if mu else "epsilon")


@torch.no_grad()
def chain_bits(trained: Trained, x_0: Tensor, seed: int) -> Tensor:
    """Return the variational bound of images in bits per dimension, ``(B,)``, all steps summed."""
    objective: Any = trained.objective
    bound, generator = bound_of(objective), torch.Generator().manual_seed(seed)
    diffusion = GaussianDiffusion(trained.denoiser.schedule)
    one = torch.ones((), dtype=torch.float64)
    last = diffusion.noise(x_0, one).kl(diffusion.terminal(x_0.shape))
    total = last.double() / x_0[0].numel() / math.log(2)
    for i in range(bound.steps):
        noise = torch.randn(x_0.shape, generator=generator)
        t = torch.full((len(x_0),), (i + 1) / bound.steps)
        batch = Batch(x_0=x_0, t=t, noise=noise)
        total = total + bound.losses(trained.denoiser, batch) / bound.steps
    return total


@torch.no_grad()
def draw(trained: Trained, count: int, seed: int) -> Tensor:
    """Return images of the chain that was trained, ``(count, 1, H, W)``, as DDPM draws them.

    E[x_0 | x_t] is clipped to [-1, 1]. The variance is beta_tilde, or the one that was learned.
    """
    objective: Any = trained.objective
    bound = bound_of(objective)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *trained.prior.shape, generator=generator)
    for i in reversed(range(bound.steps)):
        t = torch.full((count,), (i + 1) / bound.steps)
        kernel, x_0 = reverse(bound, trained.denoiser, x, t)
        noise = torch.randn(x.shape, generator=generator)
        x = (kernel.loc + kernel.var.sqrt() * noise).float() if i else x_0
    return x


def reverse(bound: VLB, model: Denoiser, x_t: Tensor, t: Tensor) -> tuple[GaussianKernel, Tensor]:
    """Return p(x_s | x_t), s one step before, and E[x_0 | x_t]; times are ``(B,)``."""
    outputs = model.outputs(x_t, t)
    x_0 = model.denoised(x_t, t, outputs).clamp(-1, 1)
    diffusion = GaussianDiffusion(model.schedule)
    late = column(t, wide(x_t))
    early = (late - 1 / bound.steps).clamp_min(0)
    kernel = diffusion.bridge(wide(x_t), wide(x_0), late, early)
    if bound.numbers == 2:
        share = (wide(outputs.chunk(2, 1)[1]) + 1) / 2
        beta = diffusion.jump(wide(x_t), early, late).var
        kernel = GaussianKernel(kernel.loc, kernel.var ** (1 - share) * beta**share)
    return kernel, x_0
