"""How much of a batch goes through a prior at a time."""

from ..priors.base import Prior
from ..priors.latent import LatentPrior
from ..priors.prompted import seeing

__all__ = ["rows", "picture"]

WHOLE = 1536**2  # px; larger pictures are worked through in windows (about 2 GB of memory on a CPU)
HEAVY = 16  # how many times the memory a pixel costs behind a decoder


def picture(prior: Prior) -> tuple[int, ...]:
    """Return the shape (C, H, W) of the pictures of a prior, of one channel where they are grey."""
    return (3, *prior.size) if isinstance(prior, LatentPrior) else prior.shape


def rows(prior: Prior) -> int:
    """Return how many states of a prior go through it at a time, for memory's sake."""
    if seeing(prior):
        return 1
    room = (16 if prior.like.device.type == "cuda" else 2) * WHOLE
    _, height, width = picture(prior)
    return max(1, room // (height * width * (HEAVY if prior.latent else 1)))
