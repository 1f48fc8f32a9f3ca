"""A posterior mean with the texture of a posterior sample."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batching import Callback, part_callback
from ..likelihoods.gaussian import GaussianLikelihood
from ..metrics import gradient_inner_product
from ..operators.mask import Mask
from ..priors.base import Prior
from ..random import Noise
from ..samplers.dpm import DPM
from ._parts import each_start, starts_of
from .base import Method, Needs, Posterior
from .dpir import DPIR
from .exemplar import plane
from .mmps import MMPS

__all__ = ["Textured"]


P = Posterior[GaussianLikelihood[Mask]]


@dataclass(frozen=True, kw_only=True)
class Textured(Method[GaussianLikelihood[Mask]]):
    """x = m + g H(s - m), with m of the one method, s of the other, and H a high-pass filter.

    The low frequencies, which hold the error, are those of a mean; the high ones, which hold the
    texture, those of a sample. g is the gain, up to ``most``, at which the gradient energy of the
    hole is ``share`` of that of its surroundings. At an equal texture it is nearer to the truth
    than the sample, as a mean moved onto images is (cf. "A Theory of the Distortion-Perception
    Tradeoff in Wasserstein Space", Freirich et al., 2021, https://arxiv.org/abs/2107.02555); its
    spread is not the posterior's. Heuristic.

    Arguments:
        start: Of both methods, in place of their own.
        mean: A method near to the posterior mean.
        sample: A method that draws samples.
        width: Standard deviation of the Gaussian whose complement is H, in pixels.
        share: The gradient energy of the hole over that of its measured surroundings.
        reach: How far the surroundings of a hole go, in pixels.
        most: Largest g.
    """

    mean: Method[Any] = field(default_factory=lambda: DPIR(start=0.15, steps=30))
    sample: Method[Any] = field(
        default_factory=lambda: MMPS(start=1.0, iterations=1, sampler=DPM(steps=10, grid="logsnr"))
    )
    width: float = 0.7
    share: float = 0.83
    reach: int = 16
    most: float = 3.0

    @property
    def parts(self) -> tuple[Method[Any], Method[Any]]:
        """The methods of the sample and of the mean, with the start of this one if it differs."""
        if self.start in (None, self.sample.start):
            return self.sample, self.mean
        return replace(self.sample, start=self.start), replace(self.mean, start=self.start)

    @property
    def starts(self) -> int:
        return sum(part.starts for part in self.parts)

    @property
    def needs(self) -> Needs:
        return Needs(self.sample.needs.diffusion, GaussianLikelihood, Mask)

    @property
    def takes_guess(self) -> bool:
        return any(method.takes_guess for method in self.parts)

    def start_time(self, prior: Prior) -> float:
        return self.parts[0].start_time(prior)

    def with_steps(self, steps: int) -> Self:
        return replace(self, mean=self.mean.with_steps(steps), sample=self.sample.with_steps(steps))

    def at_levels(self, factor: float) -> Self:
        mean, sample = (part.at_levels(factor) for part in (self.mean, self.sample))
        return replace(super().at_levels(factor), mean=mean, sample=sample)

    def initial(
        self, p: Posterior[Any], guess: Tensor | None, images: Tensor, noise: Noise
    ) -> Tensor:
        return starts_of(self.parts, p, guess, images, noise)

    def run(self, p: P, x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        s, m = (
            method.run(p, start, noise, part_callback(callback, i, 2))
            for i, (method, start) in enumerate(
                zip(self.parts, each_start(self.parts, x_T), strict=True)
            )
        )
        lost = (p.likelihood.operator.s == 0).to(m).expand_as(m)
        hole = plane(lost).amax(1, keepdim=True)
        image = torch.where(lost == 0, p.likelihood.y, m)
        h = hole * _high_pass(hole * plane(s - m), self.width)
        g = self._gain(plane(image), h, hole)
        return m + (g[:, None, None, None] * h).reshape(m.shape)

    def _gain(self, m: Tensor, h: Tensor, hole: Tensor) -> Tensor:
        """Return the g of each image, ``(B,)``, at which m + g h has the target energy."""
        edge = _grown(hole, self.reach) - hole
        target = self.share * gradient_inner_product(m, m, edge).nan_to_num()
        a, b, c = (
            gradient_inner_product(*p, hole, torch.maximum) for p in ((h, h), (m, h), (m, m))
        )
        root = (b**2 - a * (c - target)).clamp_min(0).sqrt()
        g = (root - b) / a.clamp_min(torch.finfo(a.dtype).tiny)
        return torch.where(c < target, g, 0).clamp(0, self.most)


def _high_pass(x: Tensor, width: float) -> Tensor:
    from kornia.filters import gaussian_blur2d

    size = 2 * math.ceil(3 * width) + 1
    low: Tensor = gaussian_blur2d(x, (size, size), (width, width), "replicate")
    return x - low


def _grown(mask: Tensor, reach: int) -> Tensor:
    return F.max_pool2d(mask, 2 * reach + 1, 1, reach)
