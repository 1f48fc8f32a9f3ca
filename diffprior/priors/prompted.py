"""Former names of what priors do by themselves; use the methods of ``Prior``."""

from torch import Tensor

from .base import Prior, show_image
from .text import TextPrior, text_prior

__all__ = ["PromptedPrior", "beside", "controlled", "prompted", "seeing"]


class PromptedPrior(TextPrior):
    """``TextPrior``."""


beside = show_image
prompted = text_prior


def controlled(prior: Prior, image: Tensor) -> Prior:
    """Return ``prior.with_control(image)``."""
    return prior.with_control(image)


def seeing(prior: Prior) -> bool:
    """Return ``prior.sees_image``."""
    return prior.sees_image
