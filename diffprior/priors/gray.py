"""Gray images under a prior of color images."""

from collections.abc import Sequence

from torch import Tensor

from ..errors import ImageError, UnsuitedError
from .base import Prior, Wrapper

__all__ = ["GrayPrior"]

ROOT_3 = 3**0.5


class GrayPrior(Wrapper):
    """Gray images, one channel each, as a prior of color images knows them.

    E[g | g_t] of a gray g_t with noise sigma is the mean over the channels of E[x_0 | x_t] at noise
    sqrt(3) sigma, for x_t = (g_t, g_t, g_t). White noise of level s in three channels has the
    level s / sqrt(3) in their mean, which is all that it says of a gray image; so the noise of a
    gray image looks to a network of colors like white noise of sqrt(3) times its level. Beyond the
    last noise level of the inner prior, the state is scaled down to that level.

    The Jacobian is that of the inner prior between a map and its transpose, up to a factor: it is
    symmetric where that one is.

    Arguments:
        inner: A prior of color images ``(3, H, W)``, with Gaussian noise.
    """

    def __init__(self, inner: Prior) -> None:
        super().__init__(inner)
        if inner.latent or inner.shape[0] != 3:
            raise UnsuitedError(f"gray images need a prior of colors, got one of {inner.shape}")
        self.shape = (1, *inner.shape[1:])

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        schedule = self.diffusion.schedule
        _, sigma_t = schedule(t)
        s = schedule.time(ROOT_3 * schedule.ratio(t))
        _, sigma_s = schedule(s)
        x_s = sigma_s / (ROOT_3 * sigma_t) * x_t
        return self.inner(x_s.expand(-1, 3, -1, -1), s).mean(1, keepdim=True)

    def encode(self, image: Tensor) -> Tensor:
        """Return the mean of the channels of images; that of gray ones is exact."""
        first = image[:, :1]
        return first + (image - first).mean(1, keepdim=True)

    def decode(self, state: Tensor) -> Tensor:
        return state

    def for_shape(self, shape: Sequence[int]) -> Prior:
        if shape[0] != 1:
            raise ImageError(f"this prior is one of gray images, with 1 channel, not {shape[0]}")
        return self.with_inner(self.inner.for_shape((3, *shape[1:])))

    def with_inner(self, inner: Prior) -> "GrayPrior":
        return GrayPrior(inner)
