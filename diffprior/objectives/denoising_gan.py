"""Denoising diffusion GAN (Xiao et al., 2022): few steps, each a draw with modes of its own."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..errors import UnsuitedError
from ..networks.parameterizations import Drawn, Parameterization
from ..validation import Positive
from .base import Batch, Denoiser, Objective, column, earlier, evenly

__all__ = ["DenoisingGAN"]


@dataclass(frozen=True, kw_only=True)
class DenoisingGAN(Objective):
    """E softplus(-D(x_s, x_t, t)) with x_s ~ q(x_s | x_t, x_0), x_0 = G(x_t, z, t), s = t - 1/N.

    The critic D tells x_s of the data from those of G, at the same x_t. G takes a noise z in
    addition to x_t, so that p(x_s | x_t) can have several modes. The critic has the penalty
    gamma / 2 |dD / dx_s|^2 on data. "Tackling the Generative Learning Trilemma with Denoising
    Diffusion GANs" (Xiao et al., 2022), https://arxiv.org/abs/2112.07804. There z is a vector that
    scales group norms; here it has the shape of the image, and is an input beside it.

    Arguments:
        steps: N.
        penalty: gamma.
    """

    inputs: ClassVar[int] = 2
    draws: ClassVar[int] = 3
    rival: ClassVar[bool] = True

    steps: int = 4
    penalty: Positive = 0.05

    def parameterization(self, sigma_data: float) -> Parameterization:
        return Drawn(self.steps)

    def times(self, u: Tensor) -> Tensor:
        return evenly(u, self.steps)

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        _, x_t = self._chain(denoiser, batch)
        return F.softplus(-_judge(denoiser, self._drawn(denoiser, batch, x_t), x_t, batch.t))

    def critic_losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        x_s, x_t = self._chain(denoiser, batch)
        with torch.no_grad():
            made = self._drawn(denoiser, batch, x_t)
        leaf = x_s.detach().requires_grad_()
        real = _judge(denoiser, leaf, x_t, batch.t)
        (slope,) = torch.autograd.grad(real.sum(), leaf, create_graph=True)
        penalty = self.penalty / 2 * slope.square().flatten(1).sum(1)
        return F.softplus(-real) + penalty + F.softplus(_judge(denoiser, made, x_t, batch.t))

    def _chain(self, denoiser: Denoiser, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return x_s ~ q(x_s | x_0) and x_t ~ q(x_t | x_s)."""
        diffusion = GaussianDiffusion(denoiser.schedule)
        t, s = self._ends(batch)
        clean = diffusion.noise(batch.x_0, s)
        x_s = clean.loc + clean.var.sqrt() * batch.noise
        jump = diffusion.jump(x_s, s, t)
        return x_s, jump.loc + jump.var.sqrt() * batch.draws[0]

    def _drawn(self, denoiser: Denoiser, batch: Batch, x_t: Tensor) -> Tensor:
        """Return x_s ~ q(x_s | x_t, x_0) of the network's x_0."""
        z, noise = batch.draws[1:]
        outputs = denoiser.outputs(torch.cat([x_t, z], 1), batch.t)
        x_0 = denoiser.denoised(x_t, batch.t, outputs)
        bridge = GaussianDiffusion(denoiser.schedule).bridge(x_t, x_0, *self._ends(batch))
        return bridge.loc + bridge.var.sqrt() * noise

    def _ends(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the times t and s of a batch, in the shape of its states."""
        t = column(batch.t, batch.x_0)
        return t, earlier(t, self.steps)


def _judge(denoiser: Denoiser, x_s: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return what the critic says of pairs of states, ``(B,)``."""
    if denoiser.critic is None:
        raise UnsuitedError("denoising_gan needs a critic, and there is none")
    return denoiser.critic(x_s, x_t, t, denoiser.labels)
