"""How much of a batch goes through a prior at a time."""

from ..priors.base import Prior
from ..priors.latent import LatentPrior
from ..priors.prompted import seeing

__all__ = ["batch_size", "image_shape"]

WHOLE = 1536**2  # px; larger images are worked through in windows (about 2 GB of memory on a CPU)
HEAVY = 16  # how many times the memory a pixel costs behind a decoder


def image_shape(prior: Prior) -> tuple[int, ...]:
    """Return the shape (C, H, W) of the images of a prior, of one channel where they are gray."""
    return (3, *prior.size) if isinstance(prior, LatentPrior) else prior.shape


def batch_size(prior: Prior) -> int:
    """Return how many states of a prior go through it at a time, for memory's sake."""
    if seeing(prior):
        return 1
    room = (16 if prior.like.device.type == "cuda" else 2) * WHOLE
    _, height, width = image_shape(prior)
    return max(1, room // (height * width * (HEAVY if prior.latent else 1)))
