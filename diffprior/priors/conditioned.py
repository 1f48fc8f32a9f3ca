"""An image under what an operator leaves of it: the network sees that beside the state."""

from collections.abc import Sequence
from typing import Any, Self, Unpack

import torch
from torch import Tensor

from ..errors import UnsuitedError
from ..networks.parameterizations import Parameterization
from ..operators.base import LinearOperator, Operator
from ._seeing import Classes, SeeingPrior, seen_image
from .base import Prior
from .guided import GuidedPrior, unguided

__all__ = ["ConditionedPrior", "as_image", "conditioned_prior", "under_measurements"]


class ConditionedPrior(SeeingPrior):
    """p(x | y) of images x with the measurement y = A x, by a network that was trained for this A.

    y is put beside x_t as an image: "Image Super-Resolution via Iterative Refinement" (SR3; Saharia
    et al., 2021), https://arxiv.org/abs/2104.07636, and "Palette: Image-to-Image Diffusion Models"
    (Saharia et al., 2022), https://arxiv.org/abs/2111.05826. Each sample is one from p(x | y), with
    no likelihood. Without y it is p(x).

    Arguments:
        operator: A.
        network, parameterization, shape, classes: As of ``SeeingPrior``.
    """

    def __init__(
        self,
        operator: Operator,
        network: Any,
        parameterization: Parameterization,
        shape: Sequence[int],
        **classes: Unpack[Classes],
    ) -> None:
        super().__init__(network, parameterization, shape, **classes)
        self.operator = operator.for_shape(self.shape)
        self.sees_image = True
        self.edits_image = True

    def given(self, y: Tensor) -> Self:
        """Return p(x | y).

        Arguments:
            y: Measurements, as the operator makes them of states ``(B, *shape)``.
        """
        x = as_image(self.operator, y, self.shape).to(self.like)
        seen = seen_image(x, torch.zeros_like(x), x.new_zeros(len(x)), x)
        return self._replace(seen=seen)

    def with_image(self, image: Tensor | None = None, hole: Tensor | None = None) -> Self:
        """Return p(x | A(image)); without an image, p(x).

        The image is the whole one, or what is left of it at its full size: a gray photo, an
        enlarged one.
        """
        if image is None:
            return self._replace(seen=None)
        return self.given(self.operator(self.encode(image.to(self.like))))

    def measures(self, operator: Operator) -> bool:
        """Return whether an operator is the one that this prior was trained for."""
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(1, *self.shape, generator=generator).to(self.like)
        own, other = self.operator(x), operator(x)
        return own.shape == other.shape and torch.allclose(own, other, atol=1e-5)


def conditioned_prior(prior: Prior) -> ConditionedPrior | None:
    """Return the prior of a condition inside wrappers and guidance, or None if there is none."""
    leaf = unguided(prior)
    return leaf if isinstance(leaf, ConditionedPrior) else None


def under_measurements(prior: Prior, y: Tensor) -> Prior:
    """Return a prior with that of a condition inside it, both sides of its guidance, under y.

    Arguments:
        prior: The prior.
        y: As of ``ConditionedPrior.given``.
    """

    def change(leaf: Prior) -> Prior:
        if isinstance(leaf, GuidedPrior):
            return leaf.with_inner(change(leaf.conditional), change(leaf.free))
        return leaf.given(y) if isinstance(leaf, ConditionedPrior) else leaf

    return prior.map_inner(change)


def as_image(operator: Operator, y: Tensor, shape: Sequence[int]) -> Tensor:
    """Return measurements in the form of states: themselves, or the least-squares state A^+ y.

    Arguments:
        operator: A.
        y: A batch of its measurements.
        shape: Shape of a state, ``(C, H, W)``.

    Returns:
        Of shape ``(B, *shape)``.

    Raises:
        UnsuitedError: If they have another form, and A is not linear.
    """
    if y.shape[1:] == tuple(shape) and not y.is_complex():
        return y
    if isinstance(operator, LinearOperator):
        return operator.pinv(y)
    raise UnsuitedError(
        f"a network sees images, and {type(operator).__name__} is not linear and makes something "
        "else of them"
    )
