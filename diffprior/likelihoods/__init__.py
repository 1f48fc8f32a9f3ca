"""Likelihoods: how a measurement y depends on the clean image x, with its noise."""

from .base import ConditionableLikelihood, Likelihood
from .bits import FlipLikelihood
from .gaussian import GaussianLikelihood
from .noises import (
    LaplaceLikelihood,
    PoissonGaussianLikelihood,
    PoissonLikelihood,
    SaltPepperLikelihood,
    SpeckleLikelihood,
)

__all__ = [
    "ConditionableLikelihood",
    "FlipLikelihood",
    "GaussianLikelihood",
    "LaplaceLikelihood",
    "Likelihood",
    "PoissonGaussianLikelihood",
    "PoissonLikelihood",
    "SaltPepperLikelihood",
    "SpeckleLikelihood",
]
