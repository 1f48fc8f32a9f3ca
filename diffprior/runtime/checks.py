"""Checks of a prior that several tasks make."""

from ..errors import TaskError
from ..priors.base import Prior
from .memory import image_shape

__all__ = ["check_colors"]


def check_colors(prior: Prior) -> None:
    """Refuse a prior of gray images for a task that makes colors."""
    if image_shape(prior)[0] == 1:
        raise TaskError("this prior is one of gray images, and knows no colors")
