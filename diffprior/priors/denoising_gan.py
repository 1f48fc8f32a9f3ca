"""Denoising diffusion GANs (Xiao et al., 2022): a few steps, each of which draws its own x_0."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ..batching import row_by_row
from ..diffusions import GaussianDiffusion
from ..errors import SettingError, UnsuitedError
from ..kernels import GaussianKernel, Kernel
from ..networks.parameterizations import Drawn, Parameterization
from ..random import Noise
from .base import Prior
from .network import NetworkPrior

__all__ = ["DenoisingGANPrior", "DrawnKernel", "prior_of"]

DRAWS = 4  # whose mean stands for E[x_0 | x_t]


@dataclass(frozen=True)
class DrawnKernel(Kernel):
    """The law of x_s ~ q(x_s | x_t, G(x_t, z)), z standard normal. It can be drawn from, no more.

    Arguments:
        draw: A map from z, of the shape of ``x_t``, to q(x_s | x_t, G(x_t, z)).
        about: A map to the mean of the kernel, about.
        x_t: The states.
    """

    draw: Callable[[Tensor], GaussianKernel]
    about: Callable[[], Tensor]
    x_t: Tensor

    @property
    def mean(self) -> Tensor:
        return self.about()

    def sample(self, noise: Noise) -> Tensor:
        return self.draw(noise.normal(self.x_t)).sample(noise)

    def log_prob(self, x: Tensor) -> Tensor:
        raise UnsuitedError("the kernels of a denoising diffusion GAN have no density")

    def tilt(self, score: Tensor) -> Self:
        raise UnsuitedError("the kernels of a denoising diffusion GAN cannot be tilted")


class DenoisingGANPrior(NetworkPrior):
    """A network G(x_t, z, t) that draws x_0, in N steps: x_s ~ q(x_s | x_t, G(x_t, z, t)).

    ``ancestral(steps=N)`` is its sampler. ``forward`` is the mean of a few draws, by the same z for
    every state: where G is right this is E[x_0 | x_t], as E[x_s | x_t] is linear in it. It answers
    at the times 1/N, 2/N, ..., 1 alone. "Tackling the Generative Learning Trilemma with Denoising
    Diffusion GANs" (Xiao et al., 2022), https://arxiv.org/abs/2112.07804.
    """

    @classmethod
    def of(
        cls,
        network: Any,
        parameterization: Parameterization | None = None,
        objective: str | None = None,
    ) -> Self:
        prior = super().of(network, parameterization or Drawn(), objective)
        prior.shape = (network.shape[0] // 2, *network.shape[1:])
        own: Any = prior.parameterization
        prior.usual_sampler = f"ancestral(steps={own.steps})"
        return prior

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self._check_time(t)
        generator = torch.Generator().manual_seed(0)
        z = torch.randn((DRAWS, *x_t.shape[1:]), generator=generator).to(x_t)
        parts = [self.draw(x_t, z[i : i + 1].expand_as(x_t), t) for i in range(DRAWS)]
        return torch.stack(parts).mean(0)

    def draw(self, x_t: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Return x_0 = G(x_t, z, t), of the shape of ``x_t``.

        Raises:
            UnsuitedError: If the time is none of those that the network knows.
        """
        self._check_time(t)
        numbers = x_t.shape[1]
        pair = torch.cat([x_t, z], 1)
        return row_by_row(lambda row: self._denoise(row, t), pair)[:, :numbers].contiguous()

    def kernel(self, x_t: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Kernel:
        if eta != 1:
            raise UnsuitedError(
                f"{self.name} is a denoising diffusion GAN, whose steps are draws: use "
                f"{self.usual_sampler}"
            )
        bridge = GaussianDiffusion(self.diffusion.schedule).bridge
        return DrawnKernel(
            lambda z: bridge(x_t, self.draw(x_t, z, t), t, s),
            lambda: bridge(x_t, self(x_t, t), t, s).mean,
            x_t,
        )

    def _under_label(self, label: int | None, scale: float | None) -> Prior:
        if scale not in (None, 1):
            raise SettingError(f"{self.name} draws, and has no mean to guide: guidance_scale is 1")
        return super()._under_label(label, scale)

    def _check_time(self, t: Tensor) -> None:
        """Refuse times that the network was not trained at."""
        own: Any = self.parameterization
        step = float(t) * own.steps
        if abs(step - round(step)) > 1e-6 or round(step) < 1:
            raise UnsuitedError(
                f"{self.name} is a denoising diffusion GAN of {own.steps} steps, and knows no "
                f"other times: use {self.usual_sampler}"
            )


def prior_of(
    network: Any, parameterization: Parameterization | None = None, objective: str | None = None
) -> NetworkPrior:
    """Return the prior of a network of this library, by what it takes and says."""
    draws = parameterization is not None and parameterization.draws
    kind = DenoisingGANPrior if draws else NetworkPrior
    return kind.of(network, parameterization, objective)
