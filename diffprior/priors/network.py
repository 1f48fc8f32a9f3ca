"""Karras preconditioning round any noise-conditioned network, for images of any size."""

import copy
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusions import GaussianDiffusion
from ..networks.nafunet import NAFUNet, karras
from ..schedules import EDM
from .labelled import LabelledPrior, checked

__all__ = ["NetworkPrior"]


class NetworkPrior(LabelledPrior):
    """D(x_t / alpha_t; sigma_t / alpha_t), with D the preconditioned network.

    Sides that are no multiple of the network's stride are padded by reflection and cropped again.

    Arguments:
        network: F(x, c_noise), fully convolutional (see ``diffprior.networks.nafunet.karras``).
        shape: Shape of one image, ``(C, H, W)``; ``for_shape`` gives the prior of any other size.
        stride: What the sides that the network takes are multiples of.
        sigma_data: Standard deviation of the data.
        sigma_min, sigma_max: The noise levels it was trained for.
        diffusion: How states are noised; EDM's between the two levels where not given.
        label: The class, where the network has classes; None is any.
    """

    free: ClassVar[bool] = True

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int] = (3, 256, 256),
        *,
        stride: int = 1,
        sigma_data: float = 0.5,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        diffusion: GaussianDiffusion | None = None,
        label: int | None = None,
    ) -> None:
        super().__init__()
        self.classes = getattr(network, "classes", 0)
        self.label = checked(label, self.classes, self.free)
        self.network = network.requires_grad_(False).eval()
        self.shape, self.stride = tuple(shape), stride
        self.sigma_data, self.sigma_min = sigma_data, sigma_min
        self.diffusion = diffusion or GaussianDiffusion(
            EDM(sigma_min=sigma_min, sigma_max=sigma_max)
        )

    @classmethod
    def of(cls, network: NAFUNet, label: int | None = None) -> Self:
        """Return the prior of a network that knows its own stride and noise levels."""
        return cls(
            network,
            (network.image_channels, network.size, network.size),
            stride=network.stride,
            sigma_data=network.sigma_data,
            sigma_min=network.sigma_min,
            sigma_max=network.sigma_max,
            label=label,
        )

    def estimate(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = self.diffusion.schedule(t)
        level = (sigma_t / alpha_t).clamp_min(self.sigma_min)
        sigma = torch.full((len(x_t),), float(level), dtype=x_t.dtype, device=x_t.device)
        h, w = x_t.shape[-2:]
        x = reflect(x_t / alpha_t, self.stride)
        return karras(self.network, x, sigma, self.sigma_data, self.labels(x))[..., :h, :w]

    def for_shape(self, shape: Sequence[int]) -> Self:
        if shape[0] != self.shape[0]:
            raise ValueError(f"this prior is one of {self.shape[0]} channels, not {shape[0]}")
        prior = copy.copy(self)
        prior.shape = tuple(shape)
        return prior


def reflect(x: Tensor, stride: int) -> Tensor:
    """Pad right and bottom to multiples of ``stride``, by reflection where there is enough."""
    return widened(x, -x.shape[-2] % stride, -x.shape[-1] % stride)


def widened(x: Tensor, down: int, right: int) -> Tensor:
    """Pad so many pixels at the bottom and at the right, by reflection where there is enough."""
    if not (down or right):
        return x
    mode = "reflect" if down < x.shape[-2] and right < x.shape[-1] else "replicate"
    return F.pad(x, (0, right, 0, down), mode=mode)
