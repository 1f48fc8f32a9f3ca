"""Dead leaves (Lee, Mumford and Huang, 2001): images of discs that hide one another, to learn from.

Their law is known: the probability that two pixels lie in one leaf, and so the covariance of an
image, has a closed form.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SettingError
from ..validation import Checked, Positive

__all__ = ["DeadLeaves"]

Array = np.ndarray[Any, np.dtype[np.float64]]
MANY = 512  # leaves that fall at once
NODES = 96  # of the rule of Gauss and Legendre


@dataclass(frozen=True, kw_only=True)
class DeadLeaves(Checked):
    """Discs of random places, radii and grays, each above those before.

    The radius has the density r^-3 between two bounds, for which images look alike at every scale.
    The gray of a leaf is uniform in [0, 1). "Occlusion Models for Natural Images: A Statistical
    Study of a Scale-Invariant Dead Leaves Model" (Lee, Mumford and Huang, 2001),
    https://doi.org/10.1023/A:1011109015675.

    Arguments:
        smallest, largest: Bounds of the radius, in pixels.

    Example:
        >>> import numpy as np
        >>> leaves = DeadLeaves(smallest=1.0, largest=8.0)
        >>> leaves.draw(2, 16, np.random.default_rng(0)).shape
        (2, 16, 16)
        >>> round(float(leaves.same_leaf(1.0)), 3)
        0.583
    """

    smallest: Positive = 1.0
    largest: Positive = 16.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.smallest < self.largest:
            raise SettingError(f"smallest is below largest, got {self.smallest} and {self.largest}")

    def draw(self, count: int, side: int, rng: np.random.Generator) -> Array:
        """Return images, of shape ``(count, side, side)``, with values in [0, 1).

        Leaves fall from the nearest to the farthest, until each pixel has one: what is seen is then
        exactly the image of a heap without an end. A pixel is a point, either inside a leaf or not.
        """
        return np.stack([self._image(side, rng) for _ in range(count)])

    def radii(self, count: int, rng: np.random.Generator) -> Array:
        """Return radii of leaves, of shape ``(count,)``."""
        ends = self.smallest**-2, self.largest**-2
        return np.asarray((ends[0] - (ends[0] - ends[1]) * rng.random(count)) ** -0.5)

    def same_leaf(self, distance: float | Array) -> Array:
        """Return the probability that two pixels lie in the same leaf.

        Of the leaves that hide one of them, the nearest hides both with the probability
        g(d) / (2 g(0) - g(d)), where g(d) is the mean area that a disc shares with itself, moved by
        d. It is the correlation of their values, too, as the grays of leaves are independent.

        Arguments:
            distance: d, in pixels, of any shape.
        """
        shared, whole = self._shared(np.asarray(distance)), self._shared(np.zeros(()))
        return np.asarray(shared / (2 * whole - shared))

    def _shared(self, distance: Array) -> Array:
        """Return g(d), up to a constant: an integral over the logarithm of the radius."""
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        low = np.log(np.maximum(self.smallest, distance / 2))
        width = np.maximum(math.log(self.largest) - low, 0)
        radius = np.exp(low[..., None] + width[..., None] * (nodes + 1) / 2)
        u = np.minimum(distance[..., None] / (2 * radius), 1)
        lens = 2 * (np.arccos(u) - u * np.sqrt(1 - u**2))  # in units of radius^2
        return np.asarray((lens @ weights) * width / 2)

    def _image(self, side: int, rng: np.random.Generator) -> Array:
        """Return one image, ``(side, side)``."""
        image = np.full(side**2, np.nan)
        places = np.stack(np.divmod(np.arange(side**2), side), 1)
        while len(empty := np.flatnonzero(np.isnan(image))):
            radius, center, gray = self._leaves(side, rng)
            squares = sum((places[empty, i, None] - center[:, i]) ** 2 for i in (0, 1))
            inside = squares < radius**2
            first = inside.argmax(1)
            image[empty] = np.where(inside.any(1), gray[first], np.nan)
        return image.reshape(side, side)

    def _leaves(self, side: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Return radii, centers and grays of leaves, the nearest first, that may be seen."""
        radius = self.radii(MANY, rng)
        low, high = -self.largest, side - 1 + self.largest
        center, gray = rng.uniform(low, high, (MANY, 2)), rng.random(MANY)
        away = np.maximum(-center, center - (side - 1)).max(1)
        seen = away < radius
        return radius[seen], center[seen], gray[seen]
