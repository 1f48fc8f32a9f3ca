"""The one question a prior answers: what was x_0, given x_t?"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from ..diffusions import Diffusion
from ..errors import ImageError
from ..kernels import Kernel

__all__ = ["Prior", "Wrapper", "row_by_row", "denoise_vjp"]


class Prior(nn.Module, ABC):
    """A diffusion and its denoiser.

    Attributes:
        diffusion: How states are noised.
        shape: Shape of one state, without the batch.
        latent: Whether an image is to be decoded from a state.
    """

    diffusion: Diffusion
    shape: tuple[int, ...]
    latent: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x_0 | x_t], of the shape of ``x_t``, at one time t for the whole batch."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        x_0: Tensor = super().__call__(x_t, t)
        return x_0

    def kernel(self, x_t: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Kernel:
        """Return p(x_s | x_t), for s < t."""
        return self.diffusion.bridge(x_t, self(x_t, t), t, s, eta)

    def encode(self, image: Tensor) -> Tensor:
        """Return the states of images."""
        return image

    def decode(self, state: Tensor) -> Tensor:
        """Return the images of states."""
        return state

    def for_shape(self, shape: Sequence[int]) -> "Prior":
        """Return this prior for states of another shape, or refuse in one sentence."""
        if tuple(shape) != self.shape:
            raise ImageError(
                f"{type(self).__name__} is a prior of states of shape {self.shape}, "
                f"not {tuple(shape)}; tiled priors take any size"
            )
        return self

    def with_time_shift(self, shape: Sequence[int]) -> "Prior":
        """Return this prior with its times as for networks that see states of this shape whole."""
        return self

    @property
    def like(self) -> Tensor:
        """Return an empty tensor of the dtype and device that states are to have."""
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.is_floating_point():
                return tensor.new_empty(0)
        return torch.empty(0)


class Wrapper(Prior, ABC):
    """A prior round another; all but the denoising is the inner one's."""

    def __init__(self, inner: Prior) -> None:
        super().__init__()
        self.inner, self.diffusion, self.shape = inner, inner.diffusion, inner.shape

    @property
    def like(self) -> Tensor:
        return self.inner.like

    @abstractmethod
    def with_inner(self, inner: Prior) -> Self:
        """Return the same wrapper round another prior."""

    def encode(self, image: Tensor) -> Tensor:
        return self.inner.encode(image)

    def decode(self, state: Tensor) -> Tensor:
        return self.inner.decode(state)

    def for_shape(self, shape: Sequence[int]) -> Prior:
        return self.with_inner(self.inner.for_shape(shape))

    def with_time_shift(self, shape: Sequence[int]) -> Prior:
        inner = self.inner.with_time_shift(shape)
        return self if inner is self.inner else self.with_inner(inner)


def row_by_row(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return what a network makes of a batch; on a CPU of one row at a time.

    There its layers share the work out, and round, by the size of the batch, and an image's
    result is not to hang on its neighbors.
    """
    rows = torch.split(x, 1) if x.device.type == "cpu" else (x,)
    return torch.cat([network(row) for row in rows])


def denoise_vjp(prior: Prior, x_t: Tensor, t: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return E[x_0 | x_t] and v -> J^T v, J its Jacobian: the only way back through a prior."""
    with torch.enable_grad():
        leaf = x_t.detach().requires_grad_()
        x_0 = prior(leaf, t)

    def vjp(v: Tensor) -> Tensor:
        return torch.autograd.grad(x_0, leaf, v.to(x_0), retain_graph=True)[0]

    return x_0.detach(), vjp
