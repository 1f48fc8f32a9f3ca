"""Tilting: a prior times any r(x), such as a classifier, a text score or a color loss."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from .base import Prior, Wrapper, denoise_vjp

__all__ = ["TiltedPrior"]

LogR = Callable[[Tensor, Tensor], Tensor]


class TiltedPrior(Wrapper):
    """p(x) r(x)^w: E[x_0 | x_t] + w (sigma_t^2 / alpha_t) grad log r_t(x_t), by Tweedie's formula.

    Exact for w = 1 and r_t(x_t) = E[r(x_0) | x_t], such as a classifier that was trained on noisy
    images: "Diffusion Models Beat GANs on Image Synthesis" (Dhariwal and Nichol, 2021),
    https://arxiv.org/abs/2105.05233. An r of clean images is evaluated at E[x_0 | x_t], and its
    gradient goes back through the prior: a heuristic whose samples spread too little. "Universal
    Guidance for Diffusion Models" (Bansal et al., 2023), https://arxiv.org/abs/2302.07121.

    Arguments:
        inner: The prior. For a latent prior, ``log_r`` takes latents.
        log_r: Map from states ``(B, *shape)`` and the time t to log r of each, ``(B,)``.
        scale: w.
        clean: Whether ``log_r`` is for clean images. It then gets E[x_0 | x_t] and t.
    """

    def __init__(self, inner: Prior, log_r: LogR, scale: float = 1.0, clean: bool = False) -> None:
        super().__init__(inner)
        self.log_r = log_r
        self.scale = scale
        self.clean = clean

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = self.diffusion.schedule(t)
        if self.clean:
            x_0, vjp = denoise_vjp(self.inner, x_t, t)
            score = vjp(self._score(x_0, t))
        else:
            x_0, score = self.inner(x_t, t), self._score(x_t, t)
        return x_0 + self.scale * sigma_t**2 / alpha_t * score

    def _score(self, x: Tensor, t: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(self.log_r(leaf, t).sum(), leaf)[0]

    def with_inner(self, inner: Prior) -> Self:
        return type(self)(inner, self.log_r, self.scale, self.clean)
