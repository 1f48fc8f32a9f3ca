"""Images as a prior takes them: their shape, their channels, how many at a time."""

import math

from torch import Tensor

from ..io.arrays import Images
from ..priors.base import Prior
from ..priors.latent import LatentPrior
from ..priors.mixture import MixturePrior

__all__ = ["batch_size", "image_shape", "measured_pixels", "samples_at_once"]

WHOLE = 1536**2  # pixels; larger images are cut into windows (about 2 GB of memory on a CPU)
HEAVY = 16  # how many times the memory a pixel costs behind a decoder


def image_shape(prior: Prior) -> tuple[int, ...]:
    """Return the shape (C, H, W) of the images of a prior, with C = 1 where they are gray."""
    return (3, *prior.size) if isinstance(prior, LatentPrior) else prior.shape


def batch_size(prior: Prior) -> int:
    """Return how many states go through a prior at a time without filling the memory.

    On a CPU it is one. Sums, products and even powers round there by the number of states and by
    the place among them, and a network takes one state at a time anyway (``row_by_row``).
    """
    if prior.sees_image or prior.like.device.type == "cpu":
        return 1
    room = (16 if prior.like.device.type == "cuda" else 2) * WHOLE
    _, height, width = image_shape(prior)
    return max(1, room // (height * width * (HEAVY if prior.latent else 1)))


def samples_at_once(prior: Prior) -> int:
    """Return how many samples of one image go through a prior at a time.

    It is ``batch_size``, but an exact prior on a CPU takes as many samples as memory holds: it has
    no network, which would take them one by one.
    """
    if isinstance(prior.innermost, MixturePrior) and prior.like.device.type == "cpu":
        return max(1, 2 * WHOLE // math.prod(prior.shape))
    return batch_size(prior)


def measured_pixels(images: Images, prior: Prior) -> Tensor:
    """Return images ``(B, C, H, W)`` in [-1, 1], gray for a prior of one channel."""
    x = images.tensor().to(prior.like)
    return x if prior.latent else prior.encode(x)
