"""A cascade: a small image first, then a large one that is drawn under it."""

from collections.abc import Sequence
from typing import Any, Self, Unpack

from torch import Tensor

from ..networks.parameterizations import Parameterization
from ._seeing import Classes, SeeingPrior, seen_image
from .base import Prior

__all__ = ["CascadePrior"]


class CascadePrior(SeeingPrior):
    """A prior of images, whose network also sees a small image of the same thing.

    The small one is drawn from a prior of its own, and enlarged. As it is never quite that of a
    real image, the network was trained on small images with noise of many levels
    (conditioning augmentation), and is told the level: "Cascaded Diffusion Models for High Fidelity
    Image Generation" (Ho et al., 2022), https://arxiv.org/abs/2106.15282.

    Arguments:
        base: The prior of the small images.
        network, parameterization, shape, classes: As of ``SeeingPrior``.
        level: Share of noise in the small image that the network sees, in [0, 1).
    """

    def __init__(
        self,
        base: Prior,
        network: Any,
        parameterization: Parameterization,
        shape: Sequence[int],
        *,
        level: float = 0.2,
        **classes: Unpack[Classes],
    ) -> None:
        super().__init__(network, parameterization, shape, level=level, **classes)
        self.base = base

    @property
    def first(self) -> Prior:
        return self.base

    def for_label(self, label: int | None) -> Self:
        return super().for_label(label)._replace(base=self.base.for_label(label))

    def _show(self, **inputs: Tensor) -> Prior:
        """Return this prior under small images.

        Arguments:
            inputs: ``small``, the images, and ``noise``, normal numbers of the shape of the states.
        """
        if "small" not in inputs:
            return super()._show(**inputs)
        noise = inputs["noise"]
        levels = noise.new_full((len(noise),), self.level)
        return self._replace(seen=seen_image(inputs["small"], noise, levels, noise))
