"""Priors that answer at once, for tests of what is around them."""

from collections.abc import Sequence

from torch import Tensor

from diffprior.diffusions import GaussianDiffusion
from diffprior.priors.base import Prior


class Shrinks(Prior):
    """A prior of images of any size, whose answer is the state, made smaller."""

    def __init__(self, shape: tuple[int, ...] = (3, 24, 24)) -> None:
        super().__init__()
        self.diffusion, self.shape = GaussianDiffusion(), shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return 0.9 * x_t

    def for_shape(self, shape: Sequence[int]) -> Prior:
        return Shrinks(tuple(shape))
