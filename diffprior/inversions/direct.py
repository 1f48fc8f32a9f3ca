"""Direct inversion (Ju et al., 2024): DDIM inversion, and a note of where its way down strays."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..priors.base import Prior
from ..random import Noise
from .base import Code, Inversion, level, noise_of

__all__ = ["DirectInversion"]


@dataclass(frozen=True, kw_only=True)
class DirectInversion(Inversion):
    """d_s = x_s - (a x_t + b eps(x_t, t)), added back on the way down: exact, up to rounding.

    x_s are the states of plain DDIM inversion. "PnP Inversion: Boosting Diffusion-based Editing
    with 3 Lines of Code", https://arxiv.org/abs/2310.01506.
    """

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None) -> Code:
        x, missed = x_0, []
        for s, t in times.unfold(0, 2, 1):
            a, b = level(prior, t, s)
            x_t = (x - b * noise_of(prior, x, t)) / a
            missed.append(x - (a * x_t + b * noise_of(prior, x_t, t)))
            x = x_t
        return {"x_T": x, "d": torch.stack(missed[::-1], 1)}

    def down(self, prior: Prior, code: Code, times: Tensor) -> Tensor:
        x = code["x_T"]
        for i, (t, s) in enumerate(times.unfold(0, 2, 1)):
            a, b = level(prior, t, s)
            x = a * x + b * noise_of(prior, x, t) + code["d"][:, i]
        return x
